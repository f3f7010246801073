"""`verify`: compares an archive, or a directory that one was unpacked to, with the list of hashes in it.

Nothing is unpacked: an archive is read to its end, within bounds. What only a hostile one holds (links,
paths that lead out, two names that differ by case) is a problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dnworker.archive.directory import sums_of_directory
from dnworker.archive.found import Found
from dnworker.archive.paths import LIST, clashes, path_problem
from dnworker.archive.reading import sums_of_archive
from dnworker.archive.sums import BadList, parse
from dnworker.capability.reading import shown
from dnworker.core.errors import UsageError

MOST_PROBLEMS = 1_000
"""Problems that are listed."""

_MISSING = ": is missing"


@dataclass
class Verified:
    """What was found."""

    path: Path
    files: int
    """How many files are listed."""
    list_digest: str
    """The SHA-256 of the list."""
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every file is as listed, and there is no other."""
        return not self.problems


def verify(path: Path) -> Verified:
    """Compare an archive or a directory with the list in it.

    Raises:
        UsageError: it is neither, or has no list.
        OSError: it cannot be read.
    """
    found = Found()
    if path.is_dir():
        sums_of_directory(path, found)
    elif path.is_file():
        sums_of_archive(path, found)
    else:
        raise UsageError(
            f"{shown(str(path))}: there is no such file or directory; name what `pack` has written",
            code="DN520",
        )
    problems = [*found.problems]
    if found.listed is None:
        if not problems:
            raise UsageError(
                f"{path} has no {LIST}, which `dnworker pack` writes; nothing can be compared", code="DN520"
            )
        return Verified(path, 0, "", _bounded(problems))
    problems += [f"{shown(p)}: {why}" for p in found.paths if (why := path_problem(p)) is not None]
    problems += map(shown, clashes(found.paths))
    listed: Mapping[str, str] = {}
    try:
        listed = parse(found.listed)
    except BadList as exc:
        problems.append(str(exc))
    else:
        compared = _compared(listed, found.sums)
        problems += [one for one in compared if found.is_whole or not one.endswith(_MISSING)]
    return Verified(path, len(listed), found.list_digest, _bounded(problems))


def _compared(listed: Mapping[str, str], sums: Mapping[str, str]) -> Iterable[str]:
    for name in sorted({*listed, *sums}):
        if name not in sums:
            yield f"{shown(name)}{_MISSING}"
        elif name not in listed:
            yield f"{shown(name)}: is not listed"
        elif sums[name] != listed[name]:
            yield f"{shown(name)}: differs from what is listed"


def _bounded(problems: list[str]) -> list[str]:
    unique = list(dict.fromkeys(problems))
    if len(unique) <= MOST_PROBLEMS:
        return unique
    return [*unique[:MOST_PROBLEMS], f"and {len(unique) - MOST_PROBLEMS:,} more"]
