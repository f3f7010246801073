"""Judges effects on the process, such as a variable of the environment or a seed; used by `slice`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum

from dnworker_jupyter.export.slicing.changes import MODULE, Strength
from dnworker_jupyter.export.slicing.knowledge import LOOKING_MODULES
from dnworker_jupyter.export.slicing.statements import Statement


class Scope(Enum):
    """Whom an effect concerns."""

    PROCESS = "process"
    """Every script: the environment, the time zone, the locale, the limits of Python."""
    MODULE = "module"
    """Scripts that import the module."""
    NOBODY = "nobody"
    """No script: it shows or logs something."""


_OF_PROCESS = (
    "os.environ", "os.putenv", "os.unsetenv", "os.umask", "time.tzset", "locale.setlocale",
    "sys.setrecursionlimit", "sys.set_int_max_str_digits", "sys.setswitchinterval",
    "socket.setdefaulttimeout", "builtins.", "faulthandler.enable", "sys.modules", "sys.stdout",
    "sys.stderr", "asyncio.set_event_loop_policy", "unittest.mock.patch.start", "unittest.mock.patch.stop",
    "unittest.mock.patch.object.st", "unittest.mock.patch.dict.st",
)  # fmt: skip
_OF_MODULES = (
    "random.seed", "random.setstate", "numpy.random.seed", "numpy.set_printoptions", "numpy.seterr",
    "decimal.getcontext", "decimal.setcontext", "decimal.DefaultContext", "logging.basicConfig",
    "logging.disable", "logging.addLevelName", "logging.setLoggerClass", "logging.captureWarnings",
    "logging.getLogger.setLevel", "logging.getLogger.addHandler", "logging.getLogger.addFilter",
    "logging.getLogger.removeHandler", "logging.getLogger.propagate", "logging.getLogger.disabled",
    "logging.config", "logging.root", "warnings.filterwarnings", "warnings.simplefilter",
    "warnings.resetwarnings", "pandas.set_option", "pandas.options", "pandas.reset_option", "re.purge",
    "gc.disable", "gc.enable", "gc.set_threshold", "gc.freeze", "mimetypes.add_type", "mimetypes.init",
    "copyreg.pickle", "codecs.register", "torch.manual_seed", "torch.set_", "matplotlib.use",
    "matplotlib.rcParams", "matplotlib.pyplot.rcParams", "csv.register_dialect", "csv.field_size_limit",
    "sys.setprofile", "sys.settrace", "calendar.setfirstweekday", "zoneinfo.reset_tzpath",
    "sqlite3.register_adapter", "sqlite3.register_converter",
)  # fmt: skip
_DIRECTORY = "os.chdir"
_OPENERS = frozenset({"os", "pathlib", "io", "glob", "shutil", "subprocess", "sqlite3", "pandas", "numpy"})
"""Modules by which a script may name files."""

_OF_IPYTHON = frozenset({"sys.excepthook", "sys.displayhook", "sys.last_traceback", "sys.ps1", "sys.ps2"})
"""What IPython sets itself around every cell, so that handlers never see what a cell has set."""

_PATHS = ("sys.path", "site.addsitedir")


def scope_of(effect: str, strength: Strength) -> Scope:
    """Return whom a change of a module concerns; `effect` is the dotted name of what is changed or called."""
    if effect in _OF_IPYTHON:
        return Scope.NOBODY
    if effect.startswith(_OF_PROCESS):
        return Scope.PROCESS
    if effect.startswith(_OF_MODULES):
        return Scope.MODULE
    if strength < Strength.SURE and effect.partition(".")[0] in LOOKING_MODULES | _SHOWING:
        return Scope.NOBODY
    return Scope.MODULE


_SHOWING = frozenset(
    {"logging", "warnings", "dnworker_jupyter", "dnworker", "dreadnode", "asyncio", "random"}
)
"""Modules whose other functions leave nothing behind that a handler relies on."""


def effects_of(changed: Mapping[str, Strength]) -> dict[str, Strength]:
    """Return the changes of modules among all changes, by the dotted name of what changes."""
    return {n.removeprefix(MODULE): strength for n, strength in changed.items() if n.startswith(MODULE)}


def is_of_path(effect: str) -> bool:
    """Return whether an effect says where modules are looked for: an export has copies of the user's own."""
    return effect.startswith(_PATHS)


def modules_of(statements: Collection[Statement]) -> set[str]:
    """Return the top-level modules that statements import; `io` where they call `open`."""
    found = {"io"} if any("open" in s.reads_later or "open" in s.reads_at_once for s in statements) else set()
    for statement in statements:
        choices, plain = statement.modules
        for name in (*plain, *(name for choice in choices for part in choice for name in part)):
            found.add(name.partition(".")[0])
    return found


def concerns(effect: str, strength: Strength, modules: Collection[str], *, names_ours: bool) -> bool:
    """Return whether an effect may change what a script does.

    Args:
        effect: the dotted name of what is changed or called.
        strength: how sure it is that this changes something.
        modules: what the script imports.
        names_ours: whether the effect is given something that the script defines.
    """
    if effect == _DIRECTORY:
        return bool(_OPENERS & set(modules))
    match scope_of(effect, strength):
        case Scope.PROCESS:
            return True
        case Scope.MODULE:
            return names_ours or effect.partition(".")[0] in modules
    return False


def is_known(effect: str) -> bool:
    """Return whether an effect is known to be one that handlers may rely on."""
    return effect.startswith((*_OF_PROCESS, *_OF_MODULES, _DIRECTORY))
