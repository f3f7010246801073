"""The page of the configuration file, from the options of `serve`."""

from __future__ import annotations

import re

from dnworker.cli.reloading import APPLIED
from dnworker.cli.serve import own_parser
from dnworker.cli.settings.setting import Setting, settings_of

from .markdown import items, page, sentence

ABOUT = """
`dnworker serve --config FILE`, or `DNWORKER_CONFIG=FILE`, reads options from a TOML file. Each option is a key; each has a variable, too.

The first of these that has a value wins: the command line, the environment, the file, the default. A list is taken whole from one of them.

Paths are relative to the directory of the file. `~` and `${VAR}` are not expanded; where they stand, a line says so. A token is never in the file: name the file that holds it by `token-file`. A file that everybody may write is refused.
"""

EXAMPLE = """
## An example

```toml title="serve.toml"
restart = "on-failure"
durable = "events.db"
log-format = "json"

[flag]
demo.loud = true

[limit]
history = "128MB"
```

`dnworker config` takes the same options as `serve`, checks them and the files that they name as `serve` does, and says where each value is from. It starts and writes nothing: whether a port is free, and whether a worker is there that an option names, `serve` says at its start.

```sh
DNWORKER_NO_OBSERVE=yes dnworker config --config serve.toml --changed --host 0.0.0.0
```

```text
host        "0.0.0.0"...--host
flag        ["demo.loud=on"]...serve.toml:5
durable..."...serve.toml:2
limit       ["history=128MB"]...serve.toml:8
no-observe  true...DNWORKER_NO_OBSERVE
restart     "on-failure"...serve.toml:1
log-format  "json"...serve.toml:3
```

`--toml` prints a file that says the same as all of them together, and `--json` the list for programs.

## Values

- *flag*: `true` or `false`; in a variable also `1`, `0`, `yes`, `no`, `on`, `off`.
- *list*: `["a", "b"]`; in a variable separated by blanks, paths as in `PATH`.
- *table*: `[limit]` with a line for each name, or a list such as `["history=128MB"]`. `true` and `false` stand for `on` and `off`; a list for its parts with commas between.
- `durable` may also be `true`: the default file, in the working directory.

An empty variable counts as none. Worker processes do not inherit the variables.

## Reload

`kill -HUP PID` reads the file again, as it is then, and loads all capabilities anew, like `dnworker reload`. One line says what was reloaded and which keys wait for the next start. A wrong file is said in one line, and changes nothing.

This is so for a process without a controlling terminal, as in a service or a container. With one, SIGHUP means that the terminal was closed, and ends the runtime in order; under `nohup` it stays ignored.

## Lines of JSON

With `log-format = "json"` each line of standard output and standard error is an object, whoever writes it: `time`, `level`, `logger` and `message`; where they are known also `worker`, `invocation`, `event`, `code` and `exception`. What handlers print has the logger `stdout` or `stderr`. Only the traceback of an interpreter that crashes is plain text.

## Keys
"""

NEXT = """
Next: [Configuration](configuration.md), [Environment variables](environment.md), [Command line](command-line.md).
"""


def config_file() -> str:
    """Return the page."""
    keys = items(_entry(one) for one in settings_of(own_parser()).values())
    return page("the parser of `dnworker serve`", "Configuration file", ABOUT, EXAMPLE, keys, NEXT)


def _entry(setting: Setting) -> str:
    kind = {"flag": "flag", "list": "list", "table": "table"}.get(setting.shape) or _kind(setting)
    reload = " Changes at a reload." if setting.key in APPLIED else ""
    about = sentence(re.sub(r" \(default: %\(default\)\w\)", "", setting.help))
    default = (
        f" Default: `{_shown(setting.default)}`."
        if isinstance(setting.default, str | int | float) and setting.shape == "one"
        else ""
    )
    return f"`{setting.key}` ({kind}, `{setting.variable}`): {about}{default}{reload}"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(setting: Setting) -> str:
    if setting.choices:
        return " or ".join(f"`{one}`" for one in setting.choices)
    if setting.type in (int, float):
        return "whole number" if setting.type is int else "number"
    return "path" if setting.is_path else "text"
