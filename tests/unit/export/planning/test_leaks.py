"""Secrets are warned of; files beside the notebook that the code reads are refused."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.problems import NotExportable
from dnworker_jupyter.kernel.cells import Cell
from tests.unit.export.builders import handler, plan


@pytest.mark.parametrize(
    "text",
    [
        "'sk-proj-" + "a1" * 15 + "'",
        "f'Bearer ghp_" + "Z" * 36 + "'",
        "'postgres://me:hunter2@db/x'",
        "dict(api_key='correct-horse-battery')",
        "{'password': 'hunter2hunter2'}",
        "'-----BEGIN RSA PRIVATE KEY-----'",
    ],
)
def test_a_secret_in_a_text_is_warned_of_and_never_told(text):
    warnings = plan("x = 1", handler(f"print({text})")).warnings
    (warning,) = [str(w) for w in warnings]
    assert warning.startswith("cell [2], line 4, column ")
    assert "for everybody to read; read it from os.environ" in warning
    assert not {"hunter2", "correct-horse", "a1a1a1", "ZZZZ"} & set(re.findall(r"[\w-]+", warning))


@pytest.mark.parametrize(
    "text",
    [
        "'sk-short'",
        "dict(token='<your token>')",
        "{'password': ''}",
        "'https://example.com/a:b@c'",
        "dict(token_count='12345678901')",
    ],
)
def test_what_is_no_secret_is_not_warned_of(text):
    assert plan("x = 1", handler(f"print({text})")).warnings == ()


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("open('data.csv')", "open('data.csv')"),
        ("Path('data.csv').read_text()", "Path('data.csv')"),
        ("pd.read_csv('data.csv')", "read_csv('data.csv')"),
        ("open('data.csv', 'w')", None),
        ("open('other.csv')", None),
        ("open('/etc/hosts')", None),
        ("open(file='data.csv')", "open('data.csv')"),
        ("open(DATA)", "open('data.csv')"),
        ("pd.loadtxt('data.csv')", "loadtxt('data.csv')"),
        ("pd.read_csv(filepath_or_buffer='data.csv')", "read_csv('data.csv')"),
        ("Path('data.csv').open()", "Path('data.csv')"),
        ("Path('data.csv').open('w')", None),
        ("Path('data.csv').write_text('x')", None),
        ("Path('data.csv').unlink()", None),
        ("open(DATA + 'x')", None),
        ("worker.state['archive'].read('data.csv')", None),
        ("worker.state['archive'].open('data.csv')", None),
        ("open('x' * 9000)", None),
    ],
)
def test_a_file_beside_the_notebook_that_is_read_is_refused(body, refused, tmp_path):
    (tmp_path / "data.csv").touch()
    above = "from pathlib import Path\nimport yaml as pd\nDATA = 'data.csv'"
    sources = [Cell(n, dedent(text).strip()) for n, text in enumerate([above, handler(f"print({body})")], 1)]

    def run():
        return plan_export(sources, default_name="demo", beside=tmp_path)

    if refused is None:
        assert run().files
        return
    with pytest.raises(NotExportable) as told:
        run()
    (problem,) = told.value.problems
    assert (problem.name, problem.location.partition(",")[0]) == (refused, "cell [2]")
    assert "is not exported" in problem.why
