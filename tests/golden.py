"""Golden pairs of the exporter: a notebook as text, and the tree that it becomes, or why it is refused.

`NAME.txt` has cells with a line between them; a first line `# options: --target dnworker` is that of the export,
`# beside: NAME.py` names files of `beside/` that lie beside the notebook. What belongs to the machine, versions
and the Python, is written as `*`. `scripts/make_export_data.py` writes the expected side again.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import tempfile
from pathlib import Path

from dnworker.core.errors import DnworkerError
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.syntax.cell import Cell

DATA = Path(__file__).parent / "data" / "export"
BETWEEN = "\n# ---- next cell ----\n"
REFUSED = "refused.txt"

_VERSIONS = re.compile(r'"(?!dreadnode)([\w.-]+(?:\[[\w,.-]+\])?)>=[^"]*"')
_PYTHON = re.compile(r'requires-python = "[^"]*"')
_WHEEL = re.compile(r"dnworker-[\w.+]+-py3-none-any\.whl")


def names() -> list[str]:
    """Return the names of all pairs."""
    return sorted(path.stem for path in DATA.glob("*.txt"))


def made(name: str) -> dict[str, str]:
    """Export a notebook of the pairs, and return its tree as texts; or one file, why it is refused."""
    text = (DATA / f"{name}.txt").read_text(encoding="utf-8")
    options = ""
    beside: list[str] = []
    while (match := re.match(r"# (options|beside): (.*)\n", text)) is not None:
        text = text[match.end() :]
        if match[1] == "options":
            options = match[2]
        else:
            beside = match[2].split()
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", default="dreadnode")
    parser.add_argument("--topology", default="uv")
    read = parser.parse_args(shlex.split(options))
    cells = [Cell(n, source.strip("\n"), f"id-{n}") for n, source in enumerate(text.split(BETWEEN), 1)]
    with tempfile.TemporaryDirectory() as place:
        for file in beside:
            shutil.copy(DATA / "beside" / file, place)
        try:
            plan = plan_export(
                cells, default_name="demo", target=read.target, topology=read.topology, beside=Path(place)
            )
        except DnworkerError as exc:
            return {REFUSED: f"{exc}\n".replace(place, "PLACE")}
    return {
        _WHEEL.sub("dnworker-*.whl", path): "(a wheel)\n" if path.endswith(".whl") else _plain(data.decode())
        for path, data in plan.files.items()
    }


def expected(name: str) -> dict[str, str]:
    """Return the expected side of a pair."""
    root = DATA / name
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {file.relative_to(root).as_posix(): file.read_text(encoding="utf-8") for file in files}


def _plain(text: str) -> str:
    text = _WHEEL.sub("dnworker-*.whl", _PYTHON.sub('requires-python = "*"', text))
    return _VERSIONS.sub(r'"\1>=*"', text)
