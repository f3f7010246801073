"""Looks at Python, the installed packages and the command `dnworker` itself."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dnworker._version import __version__, build
from dnworker.doctor.findings import Finding, ok, problem, warning

OLDEST = (3, 11)
"""The first Python that dnworker runs on."""

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w,.-]+)\])?(?:<[\d.]+,)?(?:>=(?P<least>[\d.]+))?(?:,<[\d.]+)?\s*"
    r"(?:;\s*(?:\(?sys_platform\s*!=\s*['\"]win32['\"]\)?\s*and\s+)?extra\s*==\s*['\"](?P<extra>[\w.-]+)['\"])?$"
)


@dataclass(frozen=True)
class Requirement:
    """One line of what the installed dnworker requires."""

    name: str
    least: str | None
    extra: str | None
    """The extra that it belongs to; None for what is always required."""


def parse_requirement(line: str) -> Requirement | None:
    """Return what a line of the metadata requires; None where it is of another form, or names dnworker."""
    found = _REQUIREMENT.match(line.strip())
    if found is None or found["name"] == "dnworker":
        return None
    return Requirement(found["name"], found["least"], found["extra"])


def is_older(version: str, least: str) -> bool:
    """Return whether a version is below a bound, by its numbers alone."""
    return _numbers(version) < _numbers(least)


def _numbers(version: str) -> list[int]:
    release = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in release[1].split(".")] if release else [0]
    return numbers + [0] * (6 - len(numbers))


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution; None where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def interpreter(version: tuple[int, int] | None = None) -> Iterator[Finding]:
    """Look at Python; `version` stands for the one that runs."""
    major, minor = version or sys.version_info[:2]
    made = build()
    what = f"dnworker {__version__}{f' ({made})' if made else ''}, Python {platform.python_version()}"
    text = f"{what} in {sys.prefix}, {platform.system()} {platform.machine()}"
    if (major, minor) < OLDEST:
        way_out = "make an environment with a newer one, such as: uv venv --python 3.12"
        yield problem("python", f"Python {major}.{minor} is older than 3.11", way_out)
    elif os.name != "posix":
        yield problem("python", f"{text}: this system has no signals and groups of processes", "use WSL")
    else:
        yield ok("python", text)


def packages(
    requires: list[str] | None = None,
    version_of: Callable[[str], str | None] = installed_version,
) -> Iterator[Finding]:
    """Compare what is installed with the bounds of dnworker's own metadata.

    Args:
        requires: lines as in `Requires-Dist`; by default those of the installed dnworker.
        version_of: returns the version of a distribution, None for one that is not installed.
    """
    if requires is None:
        try:
            requires = metadata.requires("dnworker") or []
        except metadata.PackageNotFoundError:
            way_out = "install it with: pip install 'dnworker[runtime]'"
            yield warning("packages", "dnworker is not installed, only its source is on the path", way_out)
            return
    extras: dict[str | None, list[Requirement]] = {}
    for line in requires:
        if (one := parse_requirement(line)) is not None:
            extras.setdefault(one.extra, []).append(one)
    complete: list[str] = []
    absent: list[str] = []
    for extra, wanted in extras.items():
        own = _own(wanted, extras.values())
        lacking = [one for one in own if version_of(one.name) is None]
        yield from _too_old(extra, own, version_of)
        if lacking and (extra is None or len(lacking) * 2 < len(own)):
            what = "dnworker" if extra is None else f"the extra {extra}"
            say = problem if extra is None else warning
            text = f"{what} lacks {', '.join(one.name for one in lacking)}"
            yield say("packages", text, f"pip install '{_named(extra)}'")
        elif extra is not None:
            is_absent = any(version_of(one.name) is None for one in wanted)
            (absent if is_absent else complete).append(extra)
    text = f"extras: {', '.join(complete) or 'none'}"
    yield ok("packages", text + (f"; not installed: {', '.join(absent)}" if absent else ""))


def _own(wanted: list[Requirement], all_wanted: Iterable[list[Requirement]]) -> list[Requirement]:
    """Return what an extra requires itself; the metadata repeats the packages of extras that it includes."""
    names = {one.name for one in wanted}
    others = [{one.name for one in other} for other in all_wanted]
    included = set[str]().union(*(other for other in others if other < names))
    return [one for one in wanted if one.name not in included]


def loop(
    version_of: Callable[[str], str | None] = installed_version, environ: Mapping[str, str] = os.environ
) -> Iterator[Finding]:
    """Look at which event loop `dnworker serve` runs on."""
    version, named = version_of("uvloop"), environ.get("DNWORKER_LOOP", "auto")
    if version is None:
        yield ok("loop", "`serve` runs on asyncio's; dnworker[speed] has a faster one, uvloop")
    elif named == "asyncio":
        yield ok("loop", f"`serve` runs on asyncio's, by DNWORKER_LOOP; uvloop {version} is installed")
    else:
        yield ok("loop", f"`serve` runs on uvloop {version}, unless --loop says asyncio")


def _too_old(
    extra: str | None, wanted: list[Requirement], version_of: Callable[[str], str | None]
) -> Iterator[Finding]:
    for one in wanted:
        version = version_of(one.name)
        if version is not None and one.least is not None and is_older(version, one.least):
            way_out = f"pip install --upgrade '{one.name}>={one.least}'"
            needed = f"{_named(extra)} needs {one.least} or later"
            yield problem("packages", f"{one.name} {version} is too old: {needed}", way_out)


def _named(extra: str | None) -> str:
    return "dnworker" if extra is None else f"dnworker[{extra}]"


def installations(
    found: list[tuple[str, Path]] | None = None, imported: Path | None = None
) -> Iterator[Finding]:
    """Look for a second installed dnworker, and for a source that is imported in place of the installed one.

    Args:
        found: versions and directories of packages of installed distributions.
        imported: the directory of the package that runs.
    """
    if found is None:
        found = [(one.version, _package_of(one)) for one in metadata.distributions(name="dnworker")]
    imported = imported or Path(__file__).parents[1]
    places = {os.path.realpath(place): version for version, place in reversed(found)}
    if len(places) > 1:
        text = ", ".join(f"{version} in {place}" for place, version in places.items())
        yield warning("installed", f"there are {len(places)} dnworker: {text}", "uninstall all but one")
    if places and os.path.realpath(imported) not in places:
        text = f"the dnworker that runs is {imported}, and {next(iter(places))} is installed"
        yield warning("installed", text, "leave its directory, or unset PYTHONPATH, to use the installed one")
    elif len(places) <= 1:
        yield ok("installed", f"runs from {imported}")


def _package_of(distribution: metadata.Distribution) -> Path:
    """Return where a distribution's package is, also where it was installed as editable."""
    text = distribution.read_text("direct_url.json")
    try:
        origin = json.loads(text) if text else {}
        if origin.get("dir_info", {}).get("editable"):
            return Path(unquote(urlsplit(origin["url"]).path), "dnworker")
    except (ValueError, AttributeError, KeyError):
        pass  # written by another tool: then it is where packages are
    return Path(str(distribution.locate_file("dnworker")))


def command(environ: Mapping[str, str] = os.environ, scripts: Path | None = None) -> Iterator[Finding]:
    """Look at which `dnworker` a shell starts.

    Args:
        environ: has `PATH`.
        scripts: where the commands of this Python are.
    """
    scripts = scripts or Path(sysconfig.get_path("scripts"))
    found = dict.fromkeys(
        os.path.realpath(file)
        for directory in environ.get("PATH", "").split(os.pathsep)
        if directory and os.access(file := Path(directory, "dnworker"), os.X_OK) and file.is_file()
    )
    own = [place for place in found if _is_own(Path(place), scripts)]
    if not found:
        way_out = f"activate the environment, or write {scripts / 'dnworker'}"
        yield warning("command", "no directory of PATH has `dnworker`", way_out)
    elif next(iter(found)) not in own:
        way_out = f"activate this environment, or write {scripts / 'dnworker'}"
        text = f"`dnworker` is {next(iter(found))}, another installation than this one"
        yield warning("command", text, way_out)
    else:
        others = [place for place in found if place not in own]
        also = f"; after it on PATH: {', '.join(others)}" if others else ""
        yield ok("command", f"`dnworker` is {next(iter(found))}{also}")


def _is_own(file: Path, scripts: Path) -> bool:
    """Return whether a program starts the Python that runs this."""
    if file.parent == Path(os.path.realpath(scripts)):
        return True
    try:
        with file.open("rb") as stream:
            first = stream.readline(1000).decode(errors="replace").strip()
    except OSError:
        return False
    return first.removeprefix("#!").strip() == sys.executable
