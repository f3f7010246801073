"""`CellHooks`: what IPython calls for every cell, before, while and after it runs; `loading` installs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.interrupts import Interrupts
from dnworker_jupyter.kernel.startup import RuntimeStartup
from dnworker_jupyter.live.transactions import Transactions
from dnworker_jupyter.syntax import transform


class CellHooks:
    """The transformers and events of one shell."""

    def __init__(
        self,
        shell: Any,
        *,
        startup: RuntimeStartup,
        cells: CellBook,
        transactions: Transactions,
        interrupts: Interrupts,
    ) -> None:
        self._shell = shell
        self._startup = startup
        self._cells = cells
        self._transactions = transactions
        self._interrupts = interrupts
        # IPython asks whether a cell is complete by transforming it: as a magic, that is how ours are judged.
        self._open_cell = _with_side_effects(self._open_worker_cell)
        self._commit = transform.CommitTransformer()

    def install(self) -> None:
        """Put every hook in."""
        shell = self._shell
        shell.input_transformer_manager.cleanup_transforms.insert(0, self._open_cell)
        shell.input_transformers_post += [self._await_magics, self._end_plain_cell]
        shell.ast_transformers.append(self._commit)
        shell.events.register("pre_run_cell", self._pre_run_cell)
        shell.events.register("post_run_cell", self._post_run_cell)

    def uninstall(self) -> None:
        """Take every hook out."""
        shell = self._shell
        for hooks, hook in (
            (shell.input_transformer_manager.cleanup_transforms, self._open_cell),
            (shell.input_transformers_post, self._await_magics),
            (shell.input_transformers_post, self._end_plain_cell),
            (shell.ast_transformers, self._commit),
        ):
            if hook in hooks:
                hooks.remove(hook)
        shell.events.unregister("pre_run_cell", self._pre_run_cell)
        shell.events.unregister("post_run_cell", self._post_run_cell)

    def _open_worker_cell(self, lines: list[str]) -> list[str]:
        # What is transformed while a cell runs is a body within it, and no cell of its own.
        return lines if self._cells.now is not None else transform.worker_cell(lines)

    def _await_magics(self, lines: list[str]) -> list[str]:
        return transform.await_magics(lines, nested=self._cells.now is not None)

    def _end_plain_cell(self, lines: list[str]) -> list[str]:
        if self._cells.now is not None or not self._shell.autoawait:
            return lines  # it is committed after it has run
        return transform.end_plain_cell(lines, self._transactions.is_handle)

    def _pre_run_cell(self, info: Any) -> None:
        self._startup.begin()
        running = self._cells.begin(info)
        if running is not None:
            self._transactions.begin_cell(running)
            self._interrupts.begin_cell()

    def _post_run_cell(self, result: Any) -> None:
        if not (getattr(result.info, "raw_cell", None) or "").strip():
            return  # IPython reports the end of empty code, and not its beginning
        succeeded = bool(result.success)
        running = self._cells.end(succeeded, getattr(result, "error_in_exec", None))
        if running is not None:
            self._transactions.leave_cell(running, succeeded)
            self._interrupts.end_cell()


def _with_side_effects(transformer: Callable[[list[str]], list[str]]) -> Callable[[list[str]], list[str]]:
    """Return a line transformer that IPython does not call to find out whether a cell is complete."""

    def transform_lines(lines: list[str]) -> list[str]:
        return transformer(lines)

    transform_lines.has_side_effects = True  # type: ignore[attr-defined]
    return transform_lines
