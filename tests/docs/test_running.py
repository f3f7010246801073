"""The blocks of a page are found, and one that does not do what its page says is an error with its line."""

from __future__ import annotations

import os
import socket
import time

import pytest

from . import running
from .page import blocks_of
from .running import PageError, PageRun, Ports, matches

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
        (
            '<!-- run: background until "a" -->\n```sh\necho a\necho b\n```\n',
            "page.md, line 2: one in the background is one command",
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
        ("a  1 ms    ███", "a  2 ms  █", True),
        ("04:52:13  ran at 2026-11-27 04:52:13 ok", "09:00:00 ran at 09:00:01 ok", True),
        ("x  ok  2 ms    ███ █", "x ok 1 ms", True),
    ],
)
def test_an_answer_is_compared_without_its_times_colours_and_columns(said, expected, is_so):
    assert matches(said, expected) is is_so


@pytest.mark.kernel
@pytest.mark.slow
def test_commands_have_a_free_port_and_cells_do_not_count_the_change_of_directory(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(
        "```sh\nexpr $PORT '>' 1024\n```\n```text\n1\n```\n"
        "```python\nfrom pathlib import Path\nprint(Path.cwd(), len(In))\n```\n"
        f"```text\n{tmp_path} 3\n```\n"
    )
    with PageRun(tmp_path) as run:
        for block in blocks_of(file):
            run.run(block)
        assert run.cells == 1


def holds(path):
    """Return whether a process, of a program that has not closed it, has a named pipe open for reading."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def until(path, is_held):
    while holds(path) is not is_held:
        time.sleep(0.01)


def test_commands_that_take_too_long_are_an_error_with_their_output_and_what_they_started_ends(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(running, "LIMIT", 3.0)
    os.mkfifo(tmp_path / "held")
    file = tmp_path / "page.md"
    file.write_text("```sh\necho before\nsleep 600 <>held &\nsleep 600\n```\n")
    with PageRun(tmp_path) as run, pytest.raises(PageError, match=r"(?s)line 1: .* longer than 3 s:\nbefore"):
        run.run(blocks_of(file)[0])
    until(tmp_path / "held", False)


def test_what_a_command_in_the_background_started_ends_though_the_command_itself_has_ended(tmp_path):
    os.mkfifo(tmp_path / "held")
    file = tmp_path / "page.md"
    command = "bash -c \"trap '' INT; sleep 600 <>held & echo ready\""
    file.write_text(f'<!-- run: background until "ready" -->\n```sh\n{command}\n```\n')
    with PageRun(tmp_path) as run:
        run.run(blocks_of(file)[0])
        until(tmp_path / "held", True)
    until(tmp_path / "held", False)


@pytest.mark.parametrize("between", ['```text title="a.txt"\na\n```\n', "```json\n{}\n```\n"])
def test_a_text_is_compared_with_the_block_before_it_only(tmp_path, between):
    file = tmp_path / "page.md"
    file.write_text(f"```sh\necho a\n```\n{between}```text\nb\n```\n")
    with PageRun(tmp_path) as run:
        for block in blocks_of(file):
            run.run(block)
        assert run.answer is None


def test_each_page_has_ports_of_its_own_that_no_kernel_is_given():
    one, other = Ports(), Ports()
    named = ["8787", "8788", "4222"]
    found = [ports[name] for ports in (one, other) for name in named]
    assert len(set(found)) == 6
    assert all(20000 <= port < 32768 for port in found)
    assert one.in_text("at 8787, not 18787") == f"at {one['8787']}, not 18787"


def test_a_port_on_which_another_process_listens_is_passed_over(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(running, "_FREE", range(taken, taken + 1))
        with pytest.raises(RuntimeError, match="no port"):
            Ports()["8787"]


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


@pytest.mark.kernel
@pytest.mark.slow
def test_a_cell_is_answered_and_a_port_that_a_page_names_is_a_free_one(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(
        '<!-- run: answers "tea", "2" -->\n```python\nprint(input("what?"), input("how many?"), "at 8787")\n```\n'
        "```text\ntea 2 at 8787\n```\n```sh\necho 8787 8788 $PORT\n```\n"
    )
    with PageRun(tmp_path) as run:
        for block in blocks_of(file):
            run.run(block)
        assert run.cells == 1
        assert run.answer is not None
        assert not {"8787", "8788"} & set(run.answer.split())
        assert len(set(run.answer.split())) == 2  # what `serve` listens on is what pages call 8787
