"""Every exception of dnworker, as one tree; every layer raises from here.

    DnworkerError
    ├── ApiError            an operation of the runtime was refused; carries the HTTP status (contract 6.1)
    │   ├── NotFound  Conflict  Gone  TooLarge  Invalid  ReservedKind  KindTooLong  NotStored
    │   ├── Unavailable  Stopping
    ├── HandlerNotAsync  WrongUse  BadSchedule  BadName   wrong use of Worker; two TypeErrors, two ValueErrors
    ├── BadRule  RuleMisplaced  KeyNotHashable  RuleFull   wrong use of `dnworker.patterns`; a ValueError,
    │                       two TypeErrors, a RuntimeError
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
    """The base of all errors that dnworker itself raises, those of a turn aside.

    Args:
        args: the text, as of every exception.
        code: names the kind of mistake, such as `DN104`; by default the class's.

    Examples:
        >>> try:
        ...     runtime.worker("nobody")
        ... except DnworkerError as error:
        ...     print(error)
        no worker 'nobody'; there are: none
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


class RuleMisplaced(_Plain, TypeError):
    """A decorator of `dnworker.patterns` stands above that of the worker, or on what is no handler."""

    code = "DN323"


class BadRule(_Plain, ValueError):
    """A decorator of `dnworker.patterns` got a value that it cannot go by."""

    code = "DN324"


class KeyNotHashable(_Plain, TypeError):
    """The key function of a rule gave something by which events cannot be told apart."""

    code = "DN325"


class RuleFull(_Plain, RuntimeError):
    """As many events wait for a rule as may."""

    code = "DN326"


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
    """The runtime refused an operation; `status` and `detail` say why.

    Args:
        detail: why, as text, or as the JSON that the HTTP API answers.

    Attributes:
        status: the HTTP status, such as 404.
        detail: as given.

    Examples:
        >>> try:
        ...     runtime.publish("turn.completed")
        ... except ApiError as error:
        ...     print(error.status, error.detail)
        400 kind 'turn.completed' is reserved: ...
    """

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


class WrongPayload(ApiError, ValueError):
    """A payload breaks the type or schema that is declared for its kind; names the field."""

    code = "DN228"
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


class Stopping(ApiError):
    """The runtime stops, and would lose what it is given; it may be tried again.

    Attributes:
        retry_after: seconds until another runtime may be there.
    """

    code = "DN931"
    status = 503

    def __init__(self, detail: str, *, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(detail)


class ManifestError(_Plain, ValueError):
    """A `capability.yaml` breaks rules: all its problems at once.

    Args:
        problems: one text for each, with line, column and code.

    Attributes:
        problems: as given, as a tuple.

    Examples:
        >>> _ = Path("demo/capability.yaml").write_text("schema: 1")
        >>> try:
        ...     await runtime.load("demo")
        ... except ManifestError as error:
        ...     print(error.problems[0])
        /...capability.yaml:1:1: field 'name' is missing [CAP-VALID-002]
    """

    code = "DN401"

    def __init__(self, problems: Sequence[str], *, code: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems), code=code)


class WorkerFailed(_Plain, RuntimeError):
    """A worker is in state `error`; the text says why."""

    code = "DN310"


class HandlerFailed(_Plain, RuntimeError):
    """Handlers raised since the last `settle`, which raises this so that a script or a test fails.

    Args:
        failures: one line for each.

    Attributes:
        failures: as given, as a tuple.

    Examples:
        >>> @worker.on_event("demo.greeted")
        ... async def on_greeted(event, client):
        ...     print(event.payload["name"])
        >>> managed = await runtime.add(worker)
        >>> trace = await runtime.fire("demo.greeted", {})
        >>> try:
        ...     await runtime.settle()
        ... except HandlerFailed as error:
        ...     print(error.failures[0])
        notebook:bridge.on_greeted (event): KeyError: 'name' (...
    """

    code = "DN312"

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        many = "a handler" if len(failures) == 1 else f"{len(failures)} handlers"
        super().__init__(f"{many} failed:\n" + "\n".join(f"  {line}" for line in failures))


class AddressInUse(_Plain, OSError):
    """The server cannot listen at its address."""

    code = "DN908"


class JournalError(_Plain, OSError):
    """The journal's file cannot be used: it is missing, is no journal, is damaged, or cannot be written.

    Examples:
        >>> JournalReader("nothing.journal")
        Traceback (most recent call last):
        JournalError: there is no journal nothing.journal
    """

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
    """No ready runtime answers at the URL; the text names the URL and the cause.

    Attributes:
        is_final: whether another attempt is of no use, as with a wrong token.

    Examples:
        >>> client = RuntimeClient("http://127.0.0.1:9", auth_token="x")
        >>> try:
        ...     await client.start()
        ... except RuntimeUnavailable as error:
        ...     print(error.is_final)
        False
        >>> await client.close()
    """

    code = "DN903"
    is_final = False


class UsageError(_Plain):
    """A command, magic or argument was used wrongly; the text names the mistake and the way out.

    Examples:
        >>> RestartPolicy(max_restarts=0)
        Traceback (most recent call last):
        UsageError: 0 restarts within 60 s: write positive numbers, like 5/60s
    """


class CommandError(_Plain, RuntimeError):
    """The runtime refused a command about a turn, such as one of a session that is not there.

    Args:
        detail: why.
        status_code: the HTTP status that an answer would have.

    Attributes:
        detail: as given.
        status_code: as given.

    Examples:
        >>> try:
        ...     await client.cancel_session("nobody")
        ... except CommandError as error:
        ...     print(error.status_code)
        404
    """

    code = "DN614"

    def __init__(self, detail: str, status_code: int = 400, *, code: str | None = None) -> None:
        self.detail = detail
        self.status_code = status_code
        super().__init__(detail, code=code)


class TurnFailedError(RuntimeError):
    """A turn ended in `turn.failed`: its agent raised, or its model did not answer.

    Args:
        error_type: the name of the error, such as `ValueError`.
        message: its text.
        partial_response: what the agent had said by then; None for nothing.
        tool_calls_attempted: the tool calls of the turn, each a dict.
        turn_id: of the turn, where it is known.
        retryable: whether the runtime says that the same turn may be started again.

    Attributes:
        error_type: as given.
        message: as given.
        partial_response: as given.
        tool_calls_attempted: as given; an empty list for none.
        turn_id: as given.
        retryable: as given.

    Examples:
        >>> async def reply(turn):
        ...     turn.fail("no such order", "OrderError")
        >>> runtime.agents.register("orders", reply)
        >>> session = await client.create_session(agent="orders")
        >>> try:
        ...     await client.run_turn(session_id=session.session_id, message="Where is order 7?")
        ... except TurnFailedError as error:
        ...     print(error.error_type, error.message)
        OrderError no such order
    """

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
    """A turn ended in `turn.cancelled`: somebody cancelled it, or its session was deleted.

    Args:
        reason: why, such as `user_interrupt`.
        partial_response: what the agent had said by then; None for nothing.
        turn_id: of the turn, where it is known.

    Attributes:
        reason: as given.
        partial_response: as given.
        turn_id: as given.

    Examples:
        >>> async def think(turn):
        ...     yield "Let me see"
        ...     await asyncio.Event().wait()
        >>> runtime.agents.register("thinker", think)
        >>> session = await client.create_session(agent="thinker")
        >>> turn = asyncio.create_task(client.run_turn(session_id=session.session_id, message="Well?"))
        >>> await turn_loop()
        >>> await client.cancel_session(session.session_id)
        >>> try:
        ...     await turn
        ... except TurnCancelledError as error:
        ...     print(error.reason, error.partial_response)
        user_interrupt Let me see
    """

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
