"""Reads what installers were asked for: `pip`, `uv`, `conda`, and files of requirements; used by asked.py."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from dnworker.capability.reading import NotText, UnreadableFile, read_text
from dnworker_jupyter.export.slicing.shell_lines import commands_in

_PIP = re.compile(r"pip(?:3(?:\.\d+)?)?")
_CONDA = frozenset({"conda", "mamba", "micromamba"})
_PROJECT_TOOLS = frozenset({"uv", "poetry", "pdm", "rye"})
_WITH_VALUE = frozenset({
    "-c", "--constraint", "--constraints", "-f", "--find-links", "-i", "--index-url",
    "--extra-index-url", "--index", "--default-index", "-t", "--target", "--prefix", "--root",
    "--platform", "--python-version", "--implementation", "--abi", "--no-binary", "--only-binary",
    "--trusted-host", "--allow-insecure-host", "--cert", "--client-cert", "--proxy", "--timeout",
    "--retries", "--cache-dir", "--log", "--progress-bar", "--report", "--upgrade-strategy",
    "--root-user-action", "-C", "--config-settings", "--config-setting", "--global-option", "--src",
    "--python", "-p", "--exists-action", "--use-feature", "--use-deprecated", "--group",
    "--resolution", "--prerelease", "--exclude-newer", "--override", "--overrides", "--link-mode",
    "--torch-backend", "--index-strategy", "--keyring-provider", "-b", "--build-constraint",
    "--build-constraints", "-P", "--upgrade-package", "--reinstall-package", "--refresh-package",
    "--no-build-package", "--no-binary-package", "--only-binary-package", "--python-platform",
    "--directory", "--project", "--config-file", "--color", "--optional", "--extra", "--tag",
    "--branch", "--rev", "--marker",
})  # fmt: skip
_WITH_VALUE_OF_CONDA = frozenset({
    "-c", "--channel", "-n", "--name", "-p", "--prefix", "--file", "--solver", "--subdir",
    "--platform", "--revision", "--repodata-fn",
})  # fmt: skip
_FILES = frozenset({"-r", "--requirement", "--requirements"})
_LIMITS = frozenset({"-c", "--constraint", "--constraints"})
_INDEXES = frozenset(
    {"-i", "--index-url", "--extra-index-url", "--index", "--default-index", "-f", "--find-links"}
)
_MOST_FILES = 20


@dataclass(frozen=True)
class Item:
    """One thing that an installer was asked for.

    `text` is as it was written: a requirement (PEP 508), a URL or a path. `kind` says what is done with it;
    for an `index` the text is the option, and for `unread` why it cannot be read.
    """

    kind: str
    text: str
    where: str

    @property
    def is_path(self) -> bool:
        """Whether it is a directory or a file on this machine."""
        text = self.text.partition(";")[0].partition("[")[0]
        if text in (".", "..") or text.startswith(("~", "file:")):
            return True
        return bool(re.search(r"[/\\]|\.(?:whl|zip|tar\.gz|tgz)$", text)) and not re.search(r"://|@", text)


def items_in(source: str, where: str, beside: Path | None) -> Iterator[Item]:
    """Yield what a cell asks installers for, in order.

    Args:
        source: the cell's text.
        where: what users call the cell.
        beside: the directory in which files of requirements are looked for.
    """
    for words in commands_in(source):
        yield from _items(words, where, beside or Path.cwd())


def _items(words: list[str], where: str, directory: Path) -> Iterator[Item]:
    found = _installer(words)
    if found is None:
        return
    tool, verb, rest = found
    if verb == "unread":
        yield Item("unread", f"`{' '.join(words)}` cannot be followed", where)
    elif tool == "conda":
        yield from _of_conda(rest, verb, where)
    else:
        yield from _of_pip(rest, verb, where, directory)


def _installer(words: Sequence[str]) -> tuple[str, str, list[str]] | None:
    """Return the installer that a command calls, what it is to do, and the words behind; None for others."""
    for number, word in enumerate(words):
        name = PurePath(word).name
        rest = list(words[number + 1 :])
        if name == "uv" and "pip" in rest[:2]:
            continue  # the next word but options says it
        if _PIP.fullmatch(name):
            return _verb("pip", rest, {"install": "install", "uninstall": "uninstall", "sync": "sync"})
        if name in _CONDA:
            verbs = {"install": "install", "remove": "uninstall", "uninstall": "uninstall", "env": "unread"}
            return _verb("conda", rest, verbs)
        if name in _PROJECT_TOOLS:
            return _verb("pip", rest, {"add": "install", "remove": "uninstall"})
        if not (word.startswith(("-", "{", "$")) or "=" in word or name in ("sudo", "env", "time")) and (
            not name.startswith("python")
        ):
            return None
    return None


def _verb(tool: str, rest: list[str], verbs: dict[str, str]) -> tuple[str, str, list[str]] | None:
    for number, word in enumerate(rest):
        if not word.startswith("-"):
            return (tool, verbs[word], rest[number + 1 :]) if word in verbs else None
    return None


def _of_pip(words: list[str], verb: str, where: str, directory: Path) -> Iterator[Item]:
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if re.match(r"-[rcief][^-=]", word):  # the value without a blank, as in -rrequirements.txt
            option, value, equals = word[:2], word[2:], "="
        takes_value = option in _FILES | {"-e", "--editable"} | _WITH_VALUE
        if takes_value and not equals:
            value = waiting.pop(0) if waiting else ""
        if option in _FILES:
            yield from _of_file(value, where, directory, verb=verb)
        elif option in _LIMITS:
            yield from _of_file(value, where, directory, verb="limit")
        elif option in _INDEXES:
            yield Item("index", option, where)
        elif option in ("-e", "--editable"):
            yield Item(verb, value, where)
        elif not word.startswith("-"):
            if verb == "sync":
                yield from _of_file(word, where, directory, verb="install")
            else:
                yield Item(verb, word, where)


def _of_conda(words: list[str], verb: str, where: str) -> Iterator[Item]:
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word.startswith("-"):
            if word in _WITH_VALUE_OF_CONDA and waiting:
                value = waiting.pop(0)
                if word == "--file":
                    yield Item("unread", f"--file {value} of conda cannot be read", where)
            continue
        spec = word.rpartition("::")[2]
        match = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", spec)
        if match is None or match[1].lower() == "python":
            continue
        version = match[2].strip()
        if version.startswith("=") and not version.startswith("=="):  # a prefix, and perhaps a build
            version = f"=={version[1:].partition('=')[0].rstrip('.*')}.*"
        yield Item(f"{verb} by conda", f"{match[1]}{version}", where)


def _of_file(
    name: str, where: str, directory: Path, *, verb: str, seen: tuple[Path, ...] = ()
) -> Iterator[Item]:
    """Yield what a file of requirements asks for, and the files that it names."""
    file = Path(os.path.realpath(directory / Path(name).expanduser()))  # which a loop of links does not end
    if file in seen or len(seen) > _MOST_FILES:
        return
    try:
        text = read_text(file, encoding="utf-8-sig")
    except NotText:
        yield Item("unread", f"{name} cannot be read: is no text", where)
        return
    except UnreadableFile as exc:
        yield Item("unread", f"{name} {exc.why}", where)
        return
    if file.suffix == ".toml":
        yield from _of_project(text, f"{file.name}", verb)
        return
    for number, line in enumerate(_logical_lines(text), 1):
        place = f"{name}, entry {number}"
        option, _, value = line.replace("=", " ", 1).partition(" ") if line.startswith("-") else ("", "", "")
        value = value.strip()
        if option in _FILES or line.startswith("-r"):
            inner = value if option in _FILES else line[2:].strip()
            yield from _of_file(inner, where, file.parent, verb=verb, seen=(*seen, file))
        elif option in _LIMITS:
            yield from _of_file(value, where, file.parent, verb="limit", seen=(*seen, file))
        elif option in ("-e", "--editable"):
            is_relative = value.startswith(".") and verb != "limit"
            yield Item(verb, str(file.parent / value) if is_relative else value, place)
        elif option in _INDEXES:
            yield Item("index", option, place)
        elif not line.startswith("-"):
            is_relative = line.startswith(("./", "../"))
            yield Item(verb, str(file.parent / line) if is_relative else line, place)


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the entries of a file of requirements, without comments, options of an entry and blank lines."""
    for line in text.replace("\\\n", " ").splitlines():
        entry = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not entry.startswith("-"):
            entry = re.split(r"\s--?[a-z]", entry)[0].strip()  # --hash, --config-settings
        if entry:
            yield entry


def _of_project(text: str, where: str, verb: str) -> Iterator[Item]:
    try:
        found = tomllib.loads(text).get("project", {}).get("dependencies", [])
    except (ValueError, AttributeError, RecursionError):
        yield Item("unread", f"{where} cannot be read", where)
        return
    for entry in found:
        yield Item(verb, str(entry), where)
