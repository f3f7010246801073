"""Looks at JupyterLab, the front ends of widgets and the kernels, by their files alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dnworker.core.files import home_directory
from dnworker.doctor.findings import Finding, ok, problem, warning
from dnworker.doctor.packages import installed_version
from dnworker.doctor.uv import answer

FRONT_ENDS = {"ipywidgets": "@jupyter-widgets/jupyterlab-manager", "anywidget": "anywidget"}
"""The directory of the part that runs in the browser, by its package."""

MANAGERS = {"8": "5", "7": "3"}
"""The major version of the widget manager that goes with one of ipywidgets."""

LONGEST_FILE = 50_000_000
"""Bytes of a notebook that is read for its kernel."""

RELATIVE = ("python", "python3", f"python{sys.version_info[0]}.{sys.version_info[1]}")
"""Programs of a kernel for which Jupyter takes its own Python."""


def data_directories(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where Jupyter looks for kernels and extensions, in its order."""
    named = [Path(one) for one in environ.get("JUPYTER_PATH", "").split(os.pathsep) if one]
    own = environ.get("JUPYTER_DATA_DIR")
    mac, other = "Library/Jupyter", ".local/share/jupyter"
    user = Path(own) if own else home_directory() / (mac if sys.platform == "darwin" else other)
    prefix = Path(sys.prefix, "share", "jupyter")
    system = [Path("/usr/local/share/jupyter"), Path("/usr/share/jupyter")]
    return [*named, *([prefix, user] if sys.prefix != sys.base_prefix else [user, prefix]), *system]


def front_ends(
    places: list[Path] | None = None, version_of: Callable[[str], str | None] = installed_version
) -> Iterator[Finding]:
    """Look at whether the panel can show: JupyterLab has the same versions of widgets as the kernel.

    Args:
        places: where Jupyter looks for files.
        version_of: returns the version of a distribution, None for one that is not installed.
    """
    lab = version_of("jupyterlab")
    if lab is None:
        text = "JupyterLab is not in this environment: where it is, ipywidgets and anywidget belong, too"
        yield ok("jupyterlab", text)
        return
    yield ok("jupyterlab", lab)
    places = data_directories() if places is None else places
    for package, directory in FRONT_ENDS.items():
        version = version_of(package)
        if version is None:
            continue  # `packages` says what the extra lacks
        files = [place / "labextensions" / directory / "package.json" for place in places]
        file = next((one for one in files if one.is_file()), None)
        front = str(_json(file).get("version", "")) if file is not None else ""
        again = f"pip install --force-reinstall {package}, and reload the page"
        if not front:
            yield problem("jupyterlab", f"{package} {version} has no part for the browser here", again)
        elif not _goes_with(package, version, front):
            text = f"{package} is {version}, and its part for the browser is {front}, in {file}"
            yield problem("jupyterlab", text, again)
        else:
            yield ok("jupyterlab", f"{package} {version}, with {front} for the browser")


def _goes_with(package: str, version: str, front: str) -> bool:
    if package == "ipywidgets":
        return MANAGERS.get(version.partition(".")[0], "") == front.partition(".")[0]
    return version.split(".")[:2] == front.split(".")[:2]


def kernels(places: list[Path] | None = None, name: str = "python3") -> Iterator[Finding]:
    """Look at which Python the usual kernel runs."""
    spec, file = kernel_spec(name, places)
    if file is None:
        if installed_version("ipykernel") is not None:
            text = f"no kernel is called {name}"
            yield warning("kernel", text, "python -m ipykernel install --sys-prefix")
        return
    yield from _kernel(name, spec, file)


def _kernel(name: str, spec: Mapping[str, Any], file: Path) -> Iterator[Finding]:
    program = python_of(spec)
    way_out = "python -m ipykernel install --sys-prefix --name " + name
    if program is None:
        yield problem("kernel", f"{file} says not what to run", way_out)
    elif not Path(program).exists():
        yield problem("kernel", f"{name} runs {program}, which is not there ({file})", way_out)
    elif _prefix(program) != _prefix(sys.executable):
        text = f"{name} runs {program}, not this Python ({file})"
        yield warning("kernel", text, f"install dnworker there, or: {way_out}")
    else:
        yield ok("kernel", f"{name} runs this Python")


def _prefix(program: str) -> str:
    """Return the directory of a program, by which an environment is known: its Python is a link."""
    return os.path.realpath(Path(program).parent)


def kernel_spec(name: str, places: list[Path] | None = None) -> tuple[dict[str, Any], Path | None]:
    """Return what a kernel's file says, and that file; None where no kernel has the name."""
    for place in data_directories() if places is None else places:
        if (file := place / "kernels" / name / "kernel.json").is_file():
            return _json(file), file
    return {}, None


def python_of(spec: Mapping[str, Any]) -> str | None:
    """Return the program of a kernel."""
    argv = spec.get("argv")
    if not isinstance(argv, list) or not argv or not isinstance(argv[0], str):
        return None
    return sys.executable if argv[0] in RELATIVE else argv[0]


def notebook(file: Path, places: list[Path] | None = None) -> Iterator[Finding]:
    """Look at the kernel of a notebook: whether it is there, and has dnworker."""
    try:
        if file.stat().st_size > LONGEST_FILE:
            raise ValueError("it is larger than 50 MB")
        found = json.loads(file.read_bytes())
        name = found.get("metadata", {}).get("kernelspec", {}).get("name")
    except (OSError, ValueError, AttributeError, RecursionError) as exc:
        text = f"{file} cannot be read as a notebook: {getattr(exc, 'strerror', None) or exc}"
        yield problem("notebook", text, "name an .ipynb file that Jupyter has saved")
        return
    if not isinstance(name, str):
        yield warning("notebook", f"{file} names no kernel", "choose one in Jupyter, and save it")
        return
    spec, at = kernel_spec(name, places)
    program = python_of(spec)
    if at is None or program is None:
        text = f"{file} wants the kernel {name!r}, which is not here"
        yield problem(
            "notebook", text, f"choose another, or: python -m ipykernel install --sys-prefix --name {name}"
        )
        return
    command = [program, "-c", "from importlib.metadata import version; print(version('dnworker'))"]
    try:
        version = answer(command)
    except OSError as exc:
        last = (str(exc).strip().splitlines() or [""])[-1]
        text = f"its kernel {name!r} runs {program}, which has no dnworker: {last}"
        yield problem("notebook", text, f"{program} -m pip install 'dnworker[jupyter]'")
    else:
        yield ok("notebook", f"its kernel {name!r} has dnworker {version}")


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
