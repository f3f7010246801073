"""Commands that cells give to a shell or an installer: read as IPython reads them."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.shell_lines import commands_in


@pytest.mark.parametrize(
    ("cell", "commands"),
    [
        ("%pip install -q a  # why", [["pip", "install", "-q", "a"]]),
        ("import os\nif os:\n    %pip install a", [["pip", "install", "a"]]),
        (
            "!pip install a && pip install b; echo c",
            [["pip", "install", "a"], ["pip", "install", "b"], ["echo", "c"]],
        ),
        (
            "!pip install 'a<3' b>=2 > /dev/null 2>&1 | tail -1",
            [["pip", "install", "a<3", "b>=2"], ["tail", "-1"]],
        ),
        ("!pip install a \\\n  b", [["pip", "install", "a", "b"]]),
        ("out = !uv pip install a", [["uv", "pip", "install", "a"]]),
        ("%%capture\n%pip install a", [["pip", "install", "a"]]),
        ("%%bash\npip install a\npip install b", [["pip", "install", "a"], ["pip", "install", "b"]]),
        ("%%script bash\npip install a", [["pip", "install", "a"]]),
        ("%system pip install a", [["pip", "install", "a"]]),
        ("%time !pip install a", [["pip", "install", "a"]]),
        ("import os\nos.system('pip install a')", [["pip", "install", "a"]]),
        (
            "import subprocess, sys\nsubprocess.check_call([sys.executable, '-m', 'pip', 'install', pkg])",
            [["python", "-m", "pip", "install", "{pkg}"]],
        ),
        ("X = '''\n%pip install a\n'''", []),
        ("# %pip install a", []),
        ("%%writefile x.py\n%pip install a", []),
        ("%%html\n!pip install a", []),
        ("def f(:\n%pip install a", []),
        ('print("how to: !pip install a")', []),
    ],
)
def test_a_command_is_what_ipython_would_run(cell, commands):
    assert [words for words in commands_in(cell) if words] == commands
