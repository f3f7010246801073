"""Every exception of dnworker, as one tree; every layer raises from here.

    DnworkerError
    ├── ApiError            an operation of the runtime was refused; carries the HTTP status (contract 6.1)
    │   ├── NotFound  Conflict  Gone  TooLarge  Invalid  ReservedKind  KindTooLong  NotStored
    ├── HandlerNotAsync  WrongUse  BadSchedule  BadName   wrong use of Worker; two TypeErrors, two ValueErrors
    ├── UnknownAttribute    a Worker or client has no such attribute; an AttributeError
    ├── ManifestError       a capability.yaml breaks rules (contract 4); a ValueError
    ├── WorkerFailed        a worker went to `error` where `running` was expected
    ├── HandlerFailed       handlers raised; raised by `settle()`
    ├── AddressInUse        the server cannot listen there; an OSError
    ├── JournalError        the file of the journal cannot be used; an OSError
    ├── BrokerError         what keeps the events cannot be used; an OSError
    ├── InvalidTransition   a step the lifecycle table does not have
    ├── SubscriberTooSlow   a bounded subscription was cut off
    ├── CommandError        the interactive socket refused a command; a RuntimeError
    ├── RuntimeUnavailable  no runtime answers at the URL; a RuntimeError
    └── UsageError          wrong use of a command or magic; shown without a traceback

`TurnFailedError` and `TurnCancelledError` are RuntimeErrors with the fields of contract 8.4.

`code` names the kind of mistake, such as `DN104`; `dnworker explain DN104` shows its page. It is given
where the error is raised, or is that of its class. `str()` is the text without it; `with_code` adds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


CODE_HEADER = "dnworker-code"
"""The header in which an answer over HTTP has the code of a refusal."""


_CODED_RULE = "[CAP-"
"""Begins the code of a manifest's rule, such as `[CAP-FLAG-001]`; that has its page, too."""


class DnworkerError(Exception):
    """The base of all errors raised by dnworker itself.

    Args:
        args: the text, as of every exception.
        code: names the kind of mistake, such as `DN104`; by default the class's.
    """

    code: str | None = None
    """Names the page of this mistake: `dnworker explain DN104`."""

    def __init__(self, *args: object, code: str | None = None) -> None:
        super().__init__(*args)
        if code is not None:
            self.code = code


def code_of(exc: BaseException) -> str | None:
    """Return the code of an error; None for one that is not ours. Code of the error's class is not run."""
    classes = type.__dict__["__mro__"].__get__(type(exc))
    if DnworkerError not in classes:
        return None
    own = BaseException.__dict__["__dict__"].__get__(exc)
    held = (type.__dict__["__dict__"].__get__(one) for one in classes)
    for names in (own, *held):
        if isinstance(code := names.get("code"), str):
            return code
    return None


def with_code(exc: BaseException, text: str | None = None) -> str:
    """Return what an error says, as people read it: its first line ends in its code, as in `... (DN104)`.

    Args:
        exc: any exception; one that is not ours has no code.
        text: what is said of it, by default its own text.
    """
    return coded(str(exc) if text is None else text, code_of(exc))


def coded(text: str, code: str | None) -> str:
    """Return a text whose first line ends in a code; as it is where it has the code, or that of a rule."""
    if code is None or f"({code})" in text:
        return text
    if code == ManifestError.code and _CODED_RULE in text:
        return text
    first, newline, rest = text.partition("\n")
    end = ":" if first.endswith(":") else ""
    return f"{first.removesuffix(':')} ({code}){end}{newline}{rest}"


class _Plain(DnworkerError):
    """An error that is clear without a traceback: a notebook shows its message only."""

    def _render_traceback_(self) -> list[str]:
        """Return the lines to show, with the line of the user's cell; IPython asks for them by this name."""
        import traceback

        from dnworker.core.locations import known_location

        shown = [f"{type(self).__name__}: {with_code(self)}"]
        for frame in reversed(traceback.extract_tb(self.__traceback__)):
            location = known_location(frame.filename, frame.lineno or 0)
            if location is not None:
                return [*shown, f"    at {location}"]
        return shown


class HandlerNotAsync(_Plain, TypeError):
    """A decorator was put on something that is no `async def` function (contract 1.3)."""

    code = "DN304"


class UnknownAttribute(_Plain, AttributeError):
    """A Worker or client has no such attribute; the text says which one is near."""

    code = "DN307"


class WrongUse(_Plain, TypeError):
    """A decorator of Worker was used in another way than it takes; the text has the right one."""

    code = "DN306"


class BadSchedule(_Plain, ValueError):
    """`every(...)` got not exactly one of its three arguments, or one out of range."""

    code = "DN308"


class BadName(_Plain, ValueError):
    """A worker's name breaks the rule of contract 1.1."""

    code = "DN303"


class ApiError(_Plain):
    """An operation was refused; `status` and `detail` are what the HTTP API answers."""

    status = 400

    def __init__(
        self, detail: str | dict[str, Any] | list[dict[str, Any]], *, code: str | None = None
    ) -> None:
        self.detail = detail
        super().__init__(detail if isinstance(detail, str) else _sentence(detail), code=code)


class NotFound(ApiError, LookupError):
    """There is no such session, worker or capability."""

    status = 404


class Conflict(ApiError):
    """The thing exists, and its state forbids the operation."""

    status = 409


class Gone(ApiError):
    """The session was deleted."""

    code = "DN602"
    status = 410


class TooLarge(ApiError, ValueError):
    """A payload that no subscriber could receive (contract 13.19)."""

    code = "DN913"
    status = 413


class Invalid(ApiError, ValueError):
    """A field has the wrong shape."""

    code = "DN912"
    status = 422


class ReservedKind(ApiError, ValueError):
    """A kind that only the runtime itself may publish (contract 5.4)."""

    code = "DN203"
    status = 400


class KindTooLong(Invalid):
    """A kind that is longer than 512 characters."""

    code = "DN202"
    status = 400


class NotStored(ApiError, OSError):
    """An event that cannot be kept now, such as for a full disk; nobody has got it (RFC 4918, 11.5)."""

    code = "DN701"
    status = 507


class Unavailable(ApiError):
    """The node that something runs on does not answer now; it may be tried again."""

    code = "DN809"
    status = 503


class ManifestError(_Plain, ValueError):
    """A manifest breaks rules; `problems` holds one message for each, with line, column and code."""

    code = "DN401"

    def __init__(self, problems: Sequence[str], *, code: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems), code=code)


class WorkerFailed(_Plain, RuntimeError):
    """A worker is in state `error`; the text says why."""

    code = "DN310"


class HandlerFailed(_Plain, RuntimeError):
    """Handlers raised since the last `settle`; `failures` holds one line for each."""

    code = "DN312"

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        many = "a handler" if len(failures) == 1 else f"{len(failures)} handlers"
        super().__init__(f"{many} failed:\n" + "\n".join(f"  {line}" for line in failures))


class AddressInUse(_Plain, OSError):
    """The server cannot listen at its address."""

    code = "DN908"


class JournalError(_Plain, OSError):
    """The journal's file cannot be opened, or is no journal."""

    code = "DN702"


class BrokerError(_Plain, OSError):
    """What keeps the events cannot be used, such as a file that another process has."""

    code = "DN806"


class InvalidTransition(DnworkerError, RuntimeError):
    """A worker cannot go from one state to the other."""


class SubscriberTooSlow(DnworkerError):
    """A subscriber fell behind its bound; `lost` events were not delivered."""

    code = "DN215"

    def __init__(self, lost: int, limit: int, max_bytes: int | None = None) -> None:
        self.lost = lost
        self.limit = limit
        size = "" if max_bytes is None else f", or {max_bytes / 1_000_000:g} MB"
        super().__init__(
            f"the subscriber fell {limit} events behind{size}; {lost} or more were not delivered"
        )


class RuntimeUnavailable(DnworkerError, RuntimeError):
    """No ready runtime answers at the URL; `is_final` is whether trying again is of no use."""

    code = "DN903"
    is_final = False


class UsageError(_Plain):
    """A mistake in using a command or magic; the message names the mistake and the way out."""


class CommandError(_Plain, RuntimeError):
    """A command of the interactive socket was refused; `detail` and `status_code` say why (contract 8.4)."""

    code = "DN614"

    def __init__(self, detail: str, status_code: int = 400, *, code: str | None = None) -> None:
        self.detail = detail
        self.status_code = status_code
        super().__init__(detail, code=code)


class TurnFailedError(RuntimeError):
    """A turn ended in `turn.failed`."""

    def __init__(
        self,
        error_type: str,
        message: str,
        *,
        partial_response: str | None = None,
        tool_calls_attempted: list[dict[str, Any]] | None = None,
        turn_id: str | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.partial_response = partial_response
        self.tool_calls_attempted = tool_calls_attempted or []
        self.turn_id = turn_id
        self.retryable = retryable
        """Whether the runtime says that it can be started again: its own end cut it off."""


class TurnCancelledError(RuntimeError):
    """A turn ended in `turn.cancelled`."""

    def __init__(
        self, reason: str, *, partial_response: str | None = None, turn_id: str | None = None
    ) -> None:
        super().__init__(f"Turn cancelled: {reason}")
        self.reason = reason
        self.partial_response = partial_response
        self.turn_id = turn_id


def _sentence(detail: dict[str, Any] | list[dict[str, Any]]) -> str:
    if isinstance(detail, dict):
        return str(detail.get("message", detail))
    return "; ".join(f"{'.'.join(map(str, item.get('loc', ())))}: {item.get('msg')}" for item in detail)
