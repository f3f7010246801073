"""What the parser of the command line does not say: one example a command, what it answers, its own exit codes."""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """What is said of one command beside its options."""

    example: str
    """Markdown; the tests run its blocks in order, in the directory of the page."""
    exit_codes: str = ""
    """What its exit codes mean where that is more than what goes for all."""


SETUP = """
## The capability of the examples

The examples below run one after the other in a directory with this capability:

```yaml title="demo/capability.yaml"
schema: 1
name: demo
version: 0.1.0
description: Greets people
flags:
  loud: {description: greets in capitals, default: false}
workers:
  greeter: {path: workers/greeter.py}
```

```python title="demo/workers/greeter.py"
from dnworker import Worker

worker = Worker(name="greeter")


@worker.on_event("demo.greeting")
async def on_greeting(event, client):
    print("hello", event.payload["name"])
    await client.publish("demo.answer", {"text": f"hello {event.payload['name']}"})


if __name__ == "__main__":
    worker.run()
```
"""

NOTES: dict[str, Note] = {
    "serve": Note(
        """
<!-- run: background until "http://" -->
```sh
dnworker serve demo --port 0 --durable
```

It prints the address of the API and of the panel, and runs until Ctrl-C. `--durable`, `--broker`, `--retry` and `--restart` are explained on
[Delivery](../understand/delivery.md), [Retry](../how-to/retry.md) and [Processes](processes.md), [limits](limits.md) on a page of their own.
""",
        "0 when it ended in order after Ctrl-C, SIGTERM or the end of its terminal; 1 when something still ran after `--stop-within`, or after a second signal.",
    ),
    "config": Note(
        """
```sh
dnworker config demo --port 9000 --changed
```

```text
capabilities  ["demo"]  the argument CAPABILITIES
port          9000      --port
```

[Configuration file](config-file.md) has the keys, and what a file looks like.
""",
        "1 when `serve` would refuse the file, a variable or an option.",
    ),
    "validate": Note(
        """
```sh
dnworker validate demo
```

```text
demo: ok (1 worker)
```
""",
        "1 when a capability breaks a rule; with `--strict` also for what would keep a worker from starting.",
    ),
    "deploy": Note(
        """
```sh
dnworker deploy systemd demo -o service --name demo
```

```text
service deploys release 0.1.0-... by systemd
...
next: copy service to the machine; there: sudo sh install.sh
```
"""
    ),
    "mcp": Note(
        """
```sh
dnworker mcp --skill
```

```text
---
name: dnworker
...
# Workers of dnworker
...
```

Without `--http`, an agent starts the command itself, and speaks over its standard streams. [Connect a coding
agent](../how-to/connect-a-coding-agent.md) has the configurations.
""",
    ),
    "probe": Note(
        """
```sh
dnworker probe --url http://127.0.0.1:9 || echo exit code $?
```

```text
no runtime answers at http://127.0.0.1:9: Connection refused
exit code 1
```

What it asks is on [Probes and systemd](probes.md).
""",
        "0 when the answer is yes, else 1.",
    ),
    "map": Note(
        """
```sh
dnworker map demo --mermaid
```

```text
flowchart...
```
"""
    ),
    "ps": Note(
        """
```sh
dnworker ps
```

```text
WORKER        STATE    RUNS AS     WHY
demo:greeter  running  in-process
```

At a terminal it also shows since when, and how many events were handled, failed and wait; a narrow one lacks some of that. `--wide` shows them where piped, too.

![A table of workers: two run, one is in error, one is gated off](../images/cli-ps.svg)

`--watch` goes on over a restart of the runtime. Piped, it prints the table at each change.
"""
    ),
    "fire": Note(
        """
```sh
dnworker fire demo.greeting name=Ada
```

```text
event ..., seq 2
```
""",
        "0 when the runtime has accepted the event; what handlers do with it is not waited for.",
    ),
    "tail": Note(
        """
<!-- run: no, it waits for the next event -->
```sh
dnworker tail demo.answer --count 1
```

It shows events from the moment it is connected, none from before: start it before you fire. After a lost connection it shows what came meanwhile.
"""
    ),
    "restart": Note(
        """
```sh
dnworker restart demo:greeter --force
```

```text
demo:greeter was restarted; it is running
```
"""
    ),
    "reload": Note(
        """
```sh
dnworker reload demo
```

```text
demo: reloaded, version 0.1.0
```
"""
    ),
    "panel": Note(
        """
```sh
dnworker panel --no-browser
```

```text
http://127.0.0.1:...
```
"""
    ),
    "cursors": Note(
        """
```sh
dnworker cursors list
```

```text
events are kept in ...
demo:greeter  handled up to ..., nothing waits; here
```

`reset` is for a worker that does not run. Neither `reset` nor `drop` drops an event.
"""
    ),
    "dead": Note(
        """
```sh
dnworker dead list
```

```text
there is no dead letter
```

In a shell `#` begins a comment: write `12` for `#12`.
"""
    ),
    "events": Note(
        """
```sh
dnworker events demo.greeting
```

```text
#     TIME  ...KIND  ...
#2    ...demo.greeting  ...
```

What is known of the kinds becomes an [AsyncAPI](https://www.asyncapi.com) 3.0 document: of a running runtime, or with `--of` of capabilities that do not run.

```sh
dnworker events --asyncapi events.json --of demo
```

```text
events.json has 2 kinds
```

`--failed` has those that a handler failed on. Older events come from the file of `--journal` or `--durable`, also after a restart.

![A table of events: what published each, and how many handlers ended how](../images/cli-events.svg)

`export` writes what is recorded to a file, whole or not at all, as JSON Lines or, with `--cloudevents`, as a batch of CloudEvents 1.0: `subject` and `dnsession` are the session, `sequence` is the `seq`. `import` publishes the events of such a file in their order, and those that it has published within a day not again.

```sh
dnworker events export orders.jsonl --kind demo.greeting
dnworker events import orders.jsonl
```

```text
orders.jsonl has 1 event
1 event is published
```

A kind that is called `export` or `import` is named by an option: `dnworker events --kind export`. [Take events home](../how-to/take-events-home.md) has more.
"""
    ),
    "trace": Note(
        """
```sh
dnworker trace 2
```

```text
demo.greeting...
```

`last-failed` is the newest event that a handler failed on.

![A tree of runs with bars that show when each began and ended](../images/cli-trace.svg)

What is left out is said below the tree: long traces are cut, and from the file, events are looked for among the next 20,000 only.
"""
    ),
    "logs": Note(
        """
```sh
dnworker logs demo:greeter -n 20
```

`--since 10m` has all lines of the last ten minutes. `-f` goes on over a lost connection after the last line that it has shown, waits for a runtime that is
started again, and says what may be missing. `dnworker tail --logs` has the lines of the framework, too.
"""
    ),
    "nodes": Note(
        """
<!-- run: no, it needs NATS servers -->
```sh
dnworker nodes --watch
```

[Cluster](cluster.md) has what its columns mean.
"""
    ),
    "export": Note(
        """
<!-- run: no, it needs a notebook -->
```sh
dnworker export work.ipynb -o greeter --check
```

[Export](../understand/export.md) says what it takes along and what it refuses.
""",
        "1 when the export is refused; the reasons are printed, and nothing is written.",
    ),
    "import": Note(
        """
```sh
dnworker import demo -o work.ipynb
```

```text
work.ipynb is written
```
"""
    ),
    "init": Note(
        """
```sh
dnworker init greetings
```

```text
...greetings...
```
"""
    ),
    "pack": Note(
        """
```sh
dnworker pack demo -o demo.tar.gz --no-lock
```

```text
...demo.tar.gz...
```
""",
        "1 when it is refused; nothing is written.",
    ),
    "verify": Note(
        """
```sh
dnworker verify demo.tar.gz
```

```text
...demo.tar.gz...
```
""",
        "1 when a file differs, is missing or is not listed.",
    ),
    "lab": Note(
        """
<!-- run: no, it opens a browser and runs until Ctrl-C -->
```sh
dnworker lab
```

It opens `dnworker.ipynb` of this directory in JupyterLab, and writes a short notebook that runs where there is none.
"""
    ),
    "doctor": Note(
        """
```sh
dnworker doctor
```

```text
OK       python: dnworker ...
OK       packages: extras: ...
...
... problem...
```

Each line is a thing that was looked at, with the way out where something can be done. Paste it into an issue: it has no secrets, and your home directory is `~`.
It looks at this machine alone; only `--broker` asks servers elsewhere.
""",
        "1 when there is a problem; warnings are none.",
    ),
    "completion": Note(
        """
```sh
dnworker completion bash > dnworker.bash
bash -n dnworker.bash
```

Put it where your shell looks, and open a new one:

- bash: `~/.local/share/bash-completion/completions/dnworker`
- zsh: a file `_dnworker` in a directory of `$fpath`
- fish: `~/.config/fish/completions/dnworker.fish`

Names of workers, as of `dnworker restart`, are those of the runtime that runs. Write the file again after an upgrade.
"""
    ),
    "explain": Note(
        """
```sh
dnworker explain DN104
```

```text
DN104: a cell magic below the first line
...
```
"""
    ),
}
"""By command, in the order of the page."""
