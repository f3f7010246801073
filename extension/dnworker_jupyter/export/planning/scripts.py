"""Makes the Python files of an export: scripts, their shared module, local modules; used by planning."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from dnworker._version import __version__
from dnworker_jupyter.export.planning import render
from dnworker_jupyter.export.planning.carried import CARRIED, carried_module, rules_used
from dnworker_jupyter.export.planning.files import VENDOR, Files
from dnworker_jupyter.export.planning.lacking import COMPLETION
from dnworker_jupyter.export.planning.local_files import read_local_files
from dnworker_jupyter.export.planning.types import TargetName
from dnworker_jupyter.export.planning.wheel import wheel_name
from dnworker_jupyter.export.slicing.requirements import SDK_MODULES, Needs
from dnworker_jupyter.export.slicing.shared_module import Script, SharedModule, split_shared
from dnworker_jupyter.export.slicing.slice import Slice
from dnworker_jupyter.syntax.options import Options


def add_scripts(
    files: Files,
    slices: Sequence[Slice],
    needs: Sequence[Needs],
    capability: str,
    target: TargetName,
    options: Mapping[str, Options],
    to_complete: Collection[str],
) -> tuple[dict[str, str], str | None]:
    """Add the files of the workers in Python; those `to_complete` use what only our client has.

    Returns the path of each worker's script, and the name of the module that they share, if there is one.
    """
    modules = {name for found in needs for name in (*found.modules, *found.local)}
    paths = {p.worker: options[p.worker].file or _script_path(p.worker, modules) for p in slices}
    homes = {PurePosixPath(path).parent for path in paths.values()}
    shared, scripts = split_shared(slices) if len(homes) == 1 else (None, [*map(Script, slices)])
    name = None
    if shared is not None:
        name = _shared_name(capability, modules, [PurePosixPath(path).stem for path in paths.values()])
        _add_shared_module(files, shared, next(iter(homes)) / f"{name}.py", target, needs)
    for script, found in zip(scripts, needs, strict=True):
        worker = script.piece.worker
        completion = COMPLETION if worker in to_complete else ""
        _add_script(files, script, paths[worker], name, target, found, completion)
    if target == "dreadnode" and (rules := rules_used(slices)):
        for home in homes:
            path = (home / f"{CARRIED}.py").as_posix()
            files.put_python(path, carried_module(rules), "the rules of dnworker.patterns")
    return paths, name


def _add_shared_module(
    files: Files, shared: SharedModule, path: PurePosixPath, target: TargetName, needs: Sequence[Needs]
) -> None:
    local = {name for found in needs for name in found.local}
    text = render.shared_module(shared, _target(target), local)
    files.put_python(path.as_posix(), text, "what several workers share")


def _add_script(
    files: Files,
    script: Script,
    path: str,
    shared: str | None,
    target: TargetName,
    needs: Needs,
    completion: str,
) -> None:
    requires_python = f">={sys.version_info.major}.{sys.version_info.minor}"
    text = render.script(
        script,
        _target(target),
        needs.requirements.values(),
        requires_python,
        shared,
        needs.local.keys(),
        completion,
    )
    files.put_python(path, text, f"the script of worker {script.piece.worker}")
    for name, data in read_local_files(needs, PurePosixPath(path).parent).items():
        files.put(name, data, "a module beside the notebook")


def _shared_name(capability: str, modules: set[str], scripts: Collection[str]) -> str:
    """Return the name of the module that scripts share, which no other module or script has."""
    name = f"{capability.replace('-', '_')}_shared"
    name = name if name.isidentifier() else f"_{name}"  # a capability may begin with a digit
    while name in modules or name in scripts:
        name += "_"
    return name


def _script_path(worker: str, modules: set[str]) -> str:
    """Return the path of a worker's script, whose name must not hide a module that a script imports.

    The modules that its SDK imports count too: Python looks beside a script first.
    """
    is_taken = worker in sys.stdlib_module_names or worker in modules or worker in SDK_MODULES
    return f"workers/{worker}-worker.py" if is_taken else f"workers/{worker}.py"


def _target(name: TargetName) -> render.Target:
    if name == "dreadnode":
        return render.Target(render.SDK_MODULE, render.SDK_REQUIREMENT)
    wheel = f'dnworker = {{ path = "../{VENDOR}/{wheel_name()}" }}'
    return render.Target("dnworker", f"dnworker>={__version__}", (wheel,))
