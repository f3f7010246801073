"""The blocks of a page are found, and one that does not do what its page says is an error with its line."""

from __future__ import annotations

import pytest

from .page import blocks_of
from .running import PageError, PageRun, matches

PAGE = """# A page

```python title="work.py"
print("from a file")
```

=== "Shell"

    <!-- run: fails -->
    ```sh
    python work.py
    exit 3
    ```

    ```text
    from a ...
    ```

<!-- hidden sh
echo hidden
-->

<!-- run: no, it needs a package of the index -->
```sh
pip install dnworker
```
"""


@pytest.fixture
def page(tmp_path):
    """A page with one block of each kind."""
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    return file


def test_each_block_has_its_line_its_language_its_code_and_what_is_said_of_it(page):
    found = [(one.line, one.language, one.code, one.title, one.how) for one in blocks_of(page)]
    assert found == [
        (3, "python", 'print("from a file")\n', "work.py", ""),
        (10, "sh", "python work.py\nexit 3\n", None, "fails"),
        (15, "text", "from a ...\n", None, ""),
        (19, "sh", "echo hidden\n", None, ""),
        (24, "sh", "pip install dnworker\n", None, "no, it needs a package of the index"),
    ]
    assert blocks_of(page)[-1].why_not_run == "it needs a package of the index"


def test_blocks_run_in_order_in_one_directory(page, tmp_path):
    with PageRun(tmp_path) as run:
        for block in blocks_of(page):
            run.run(block)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```sh\nexit 2\n```\n", "page.md, line 1: the commands ended with 2"),
        ("<!-- run: fails -->\n```sh\ntrue\n```\n", "page.md, line 2: the commands ended with 0"),
        ("```sh\necho a\n```\n```text\nb\n```\n", "page.md, line 4: the page says"),
        ("```json\n{]\n```\n", "page.md, line 1: "),
        ("```perl\n1\n```\n", "page.md, line 1: nothing runs 'perl'"),
        (
            '<!-- run: background until "never" -->\n```sh\necho other\n```\n',
            "page.md, line 2: 'never' did not appear",
        ),
    ],
)
def test_a_block_that_does_something_else_is_an_error_with_its_line(tmp_path, text, says):
    file = tmp_path / "page.md"
    file.write_text(text)
    with PageRun(tmp_path) as run, pytest.raises(PageError, match=says):
        for block in blocks_of(file):
            run.run(block)


@pytest.mark.parametrize(
    ("said", "expected", "is_so"),
    [
        ("a\nb\nc", "b", True),
        ("a\nbc", "b", False),
        ("took 0.31 ms", "took 12 ms", True),
        ("a 1\nb\nc 2", "a ...\nc 2", True),
        ("a 1\nb", "a ...\nc", False),
        ("\x1b[31mred\x1b[0m  x", "red x", True),
    ],
)
def test_an_answer_is_compared_without_its_times_colours_and_columns(said, expected, is_so):
    assert matches(said, expected) is is_so


def test_a_command_has_what_an_earlier_one_exported_and_a_home_of_its_own(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(
        "```sh\nexport WORD=here\n```\n"
        "```sh\necho $WORD $HOME\n```\n```text\nhere ...-home\n```\n"
        '<!-- run: background until "here" -->\n```sh\nbash -c "echo $WORD; exec sleep 60"\n```\n'
    )
    with PageRun(tmp_path) as run:
        for block in blocks_of(file):
            run.run(block)
