"""The notebook that `dnworker lab` writes: a worker, an event, the panel and an export."""

from __future__ import annotations

from dnworker_jupyter.importer.notebook_file import Imported, NotebookCell

_WORKER = """\
%%worker greeter

@worker.on_event("turn.completed")
async def count(event: EventEnvelope, client: RuntimeClient) -> None:
    worker.state["turns"] = worker.state.get("turns", 0) + 1
    print(f"turn {event.payload['turn_id']} is the number {worker.state['turns']}")


@worker.every(minutes=5)
async def report(client: RuntimeClient) -> None:
    print(f"{worker.state.get('turns', 0)} turns so far")"""

_CELLS = (
    NotebookCell(
        "markdown",
        "# A first worker\n\nA *worker* reacts to events and runs on schedules. Run the cells in order.",
        "title",
    ),
    NotebookCell("code", "%load_ext dnworker", "load"),
    NotebookCell(
        "code", "%%capability\nname: first\nversion: 0.1.0\ndescription: Counts turns", "capability"
    ),
    NotebookCell("code", _WORKER, "worker"),
    NotebookCell(
        "markdown", "`%fire` publishes an event and shows which handlers ran and what they did.", "about-fire"
    ),
    NotebookCell("code", "%fire turn.completed turn_id=t1", "fire"),
    NotebookCell(
        "markdown", "Change the worker and run its cell again: it is replaced, and keeps its state.", "change"
    ),
    NotebookCell("code", "%panel", "panel"),
    NotebookCell("markdown", "The export runs anywhere by `dnworker serve`.", "about-export"),
    NotebookCell("code", "%capability export out/first", "export"),
)


def first_notebook() -> Imported:
    """Return the notebook, which no file has yet."""
    return Imported("first", [*_CELLS])
