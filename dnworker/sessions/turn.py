"""`Turn`: one request to an agent, as the agent's script sees it; made by `Turns`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Never

import msgspec

from dnworker.core.envelope import snapshot
from dnworker.core.errors import Invalid
from dnworker.core.handler_error import message_of, type_name
from dnworker.core.ids import new_id
from dnworker.core.text import valid_text
from dnworker.core.tool_files import ToolText, files_of
from dnworker.sessions.checks import check_names
from dnworker.sessions.output_schema import Misfit, OutputSchema
from dnworker.sessions.prompts import (
    Decision,
    HumanPrompt,
    HumanQuestion,
    Option,
    PendingPrompt,
    PromptCancelled,
    QuestionAnswer,
    ToolApproval,
)
from dnworker.sessions.session import Message
from dnworker.sessions.transcript import RawEvent, ToolCall, Transcript

if TYPE_CHECKING:
    from dnworker.core.clock import Clock
    from dnworker.core.invocation import Invocation
    from dnworker.core.models import SessionWire
    from dnworker.sessions.session import Session
    from dnworker.sessions.tools import Tools

_UNSET: Any = object()


class TurnFailure(Exception):
    """Ends a turn in `turn.failed`; `type` is its error's type."""

    def __init__(self, message: str, type_: str = "AgentError") -> None:
        super().__init__(message)
        self.type = type_


def misfit(agent: str, output: OutputSchema, why: object) -> TurnFailure:
    """Return what ends a turn whose answer does not have its form."""
    return TurnFailure(
        f"agent {agent!r} answered what is no {output.name}: {valid_text(str(why))} (DN974)", "OutputMismatch"
    )


def new_turn_id() -> str:
    """Return an id for a turn that is to be started."""
    return f"turn_{new_id()}"


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """The fields of `turn.start`; `agent` and `model` None mean the session's."""

    message: str
    agent: str | None = None
    model: str | None = None
    reset: bool = False
    generate_params_extra: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Check it before anything is made for it.

        Raises:
            Invalid: the message is no text, the metadata no JSON, or a name too long.
        """
        if not isinstance(self.message, str):
            raise Invalid(f"message must be text, not {self.message!r:.60}", code="DN607")
        check_names(agent=self.agent, model=self.model)
        snapshot(self.metadata)

    @cached_property
    def size(self) -> int:
        """The bytes of memory that it takes until its turn has ended."""
        return Message(role="user", content=self.message, metadata=self.metadata).bytes_used() + len(
            msgspec.json.encode(self.generate_params_extra)
        )


class Turn:
    """One turn of a session, as the script of an agent sees it: what was said, and ways to answer.

    A script is a function of the turn that returns text, or a generator that yields pieces of it.

    Attributes:
        id: of the turn, such as `turn_55df2f...`.
        agent: who answers.
        model: the model that was asked for; None for none.
        cancelled: whether somebody has cancelled it.
        last_event_id: of the newest event of it, pieces of its answer aside; None before.

    Examples:
        >>> async def reply(turn):
        ...     yield f"You have said {len(turn.history)} things. "
        ...     yield f"Now: {turn.message}"
        >>> runtime.agents.register("counter", reply)
        >>> end = await client.run_turn(session_id="s", agent="counter", message="hello")
        >>> end["response_text"]
        'You have said 0 things. Now: hello'
    """

    last_event_id: str | None = None
    """The newest event of it that was published, pieces of its answer aside that no broker keeps."""

    def __init__(
        self,
        session: Session,
        request: TurnRequest,
        *,
        turn_id: str,
        invocation: Invocation,
        prompts: dict[str, PendingPrompt],
        agent: str,
        model: str | None,
        publish: Callable[[str, RawEvent], object],
        judge: Callable[[str, ToolCall], Awaitable[bool]],
        tools: Tools,
        clock: Clock,
        depth: int = 1,
    ) -> None:
        # What was requested, and of whom.
        self.id = turn_id
        self.request = request
        self.depth = depth  # its place in the queue then, from 1
        self.agent = agent
        self.model = model
        self.invocation = invocation

        # The run: its task, and how it ended.
        self.keeping: asyncio.Task[None] | None = None
        """Makes it outlive a kill; it runs no sooner than that has succeeded."""
        self.task: asyncio.Task[None] | None = None
        self.has_answer = False
        """Whether its agent is done: it ends as completed, whoever cancels it."""
        self.started_at: float | None = None
        self.finished = False
        self.error: BaseException | None = None
        self.cancelled = False
        self.cancel_reason = "user_interrupt"
        self.dropped = 0

        # What the script's methods use.
        self._session = session
        self._prompts = prompts
        self._publish = publish
        self._judge = judge
        self._tools = tools
        self._clock = clock
        self.transcript = Transcript(self._emit, agent=agent, model=model, clock=clock)

    # -- what the script sees --------------------------------------------------------------------------

    @property
    def message(self) -> str:
        """The user's message, as text."""
        return self.request.message

    @property
    def is_kept(self) -> bool:
        """Whether it was accepted: where it is to outlive a kill, whether it is kept."""
        return self.keeping is None or self.keeping.done()

    async def accepted(self) -> None:
        """Return when the turn was accepted: where it is to outlive a kill, when it is kept.

        Raises:
            NotStored: it cannot be kept, such as for a full disk, and was dropped.
            Invalid: what it says cannot be kept.

        Examples:
            >>> async def reply(turn):
            ...     await turn.accepted()
            ...     yield "it is kept"
            >>> runtime.agents.register("careful", reply)
            >>> end = await client.run_turn(session_id="s", agent="careful", message="hello")
            >>> end["response_text"]
            'it is kept'
        """
        if self.keeping is not None:
            await asyncio.shield(self.keeping)

    @property
    def session(self) -> SessionWire:
        """The session as it is now: a `SessionInfo` with `session_id`, `agent`, `labels`, ..."""
        return self._session.info()

    @property
    def history(self) -> list[Message]:
        """The messages of the turns before this one, oldest first, each with `role` and `content`."""
        return list(self._session.messages)

    # -- what the script can do ------------------------------------------------------------------------

    def say(self, text: Any) -> None:
        """Add a piece to the answer, as yielding or returning text does.

        Args:
            text: the piece; empty text adds nothing.

        Raises:
            TypeError: it is not text.

        Examples:
            >>> async def reply(turn):
            ...     turn.say("Hello, ")
            ...     return turn.message
            >>> runtime.agents.register("polite", reply)
            >>> end = await client.run_turn(session_id="s", agent="polite", message="Ada")
            >>> end["response_text"]
            'Hello, Ada'
        """
        if not isinstance(text, str):
            raise TypeError(f"an agent answers with text, not with {type(text).__name__} {text!r:.60}")
        if text:
            self.transcript.say(text)

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any] | str | None = None,
        *,
        result: Any = _UNSET,
        call_id: str | None = None,
    ) -> str:
        """Call a tool and return its result as text; clients see `toolstart` and `toolend`.

        Args:
            name: of a tool registered with `runtime.tools`.
            arguments: by name; a model's are JSON text.
            result: the result to report, instead of calling a function: a scripted tool needs none.
            call_id: of the call, when a model has given it one.

        Returns:
            What the function returned: text as it is, anything else as JSON.

        Raises:
            PermissionError: permission was needed and not given.
            Exception: whatever the tool raises; it is reported as the tool's error first.

        Examples:
            >>> def add(a: int, b: int) -> int:
            ...     return a + b
            >>> _ = runtime.tools.register(add)
            >>> async def reply(turn):
            ...     return await turn.call_tool("add", {"a": 2, "b": 3})
            >>> runtime.agents.register("adder", reply)
            >>> end = await client.run_turn(session_id="s", agent="adder", message="2 + 3?")
            >>> end["response_text"]
            '5'
        """
        return str(await self.run_tool(name, arguments, result=result, call_id=call_id))

    async def run_tool(
        self, name: str, arguments: Any = None, *, result: Any = _UNSET, call_id: str | None = None
    ) -> str:
        """Do what `call_tool` does, and keep the images of the result, for a model that takes them.

        Args:
            name: of the tool.
            arguments: by name; a model's are JSON text.
            result: the result to report, instead of calling a function.
            call_id: of the call, when a model has given it one.

        Returns:
            The result as text; a `ToolText`, which has the files beside it, where there are any.

        Raises:
            PermissionError: permission was needed and not given.
            Exception: whatever the tool raises; it is reported as the tool's error first.

        Examples:
            >>> _ = runtime.tools.register(lambda: "sunny", name="weather")
            >>> async def reply(turn):
            ...     return await turn.run_tool("weather", {})
            >>> runtime.agents.register("reporter", reply)
            >>> end = await client.run_turn(session_id="s", agent="reporter", message="and now?")
            >>> end["response_text"]
            'sunny'
        """
        given = arguments if isinstance(arguments, str) else snapshot(arguments)[0]
        call = ToolCall(name, given, **({"id": call_id} if call_id else {}))
        self.transcript.tool_begins(call)
        try:
            if self._session.policy.asks and name not in self._session.allowed_tools:
                await self._get_permission(call)
            if result is _UNSET:
                result = await self._tools.get(name).call(call.arguments)
            call.result = valid_text(str(result))
        except Exception as exc:
            call.error, call.error_type = message_of(exc), type_name(exc)
            raise
        finally:
            self.transcript.tool_ends(call)
        return ToolText(call.result, files) if (files := files_of(result)) else call.result

    async def ask(
        self, prompt: str, options: Sequence[str] = (), *, header: str = "", multiple: bool = False
    ) -> str:
        """Ask the human and wait for the answer; a client gives it by `send_human_input_response`.

        Args:
            prompt: the question.
            options: the labels to choose from; none for an answer in words.
            header: a few words above the question.
            multiple: whether several options may be chosen.

        Returns:
            The answer as text; with options, the labels that were chosen, joined by a comma.

        Raises:
            PromptCancelled: the question was closed, or the session's policy lets nobody be asked.

        Examples:
            >>> async def reply(turn):
            ...     return await turn.ask("Which one?", ["tea", "coffee"])
            >>> runtime.agents.register("waiter", reply)
            >>> async for raw in client.stream_chat(session_id="s", agent="waiter", message="hello"):
            ...     if raw["type"] == "userinputrequired":
            ...         answer = {"request_id": raw["data"]["request_id"], "action": "submit"}
            ...         answer["answers"] = [{"selected_labels": ["tea"]}]
            ...         await client.send_human_input_response("s", answer)
            ...     if raw["type"] == "generationcontent":
            ...         print(raw["data"]["content"])
            tea
        """
        if self._session.policy.autonomous:
            raise PromptCancelled(f"policy {self._session.policy.name!r} asks nobody: {prompt}")
        question = HumanQuestion(
            kind="choice" if options else "input",
            prompt=prompt,
            header=header,
            options=[Option(label=label) for label in options],
            multiple=multiple,
        )
        answers: list[QuestionAnswer] = await self._prompt(
            HumanPrompt(questions=[question]), "userinputrequired"
        )
        return answers[0].content if answers else ""

    async def sleep(self, seconds: float) -> None:
        """Wait, on the runtime's clock: a virtual one wakes it, too.

        Args:
            seconds: how long.

        Examples:
            >>> async def reply(turn):
            ...     await turn.sleep(3600)
            ...     return "an hour later"
            >>> runtime.agents.register("slow", reply)
            >>> turn = asyncio.create_task(client.run_turn(session_id="s", agent="slow", message="hello"))
            >>> woken = await runtime.advance(3600)
            >>> (await turn)["response_text"]
            'an hour later'
        """
        await self._clock.sleep(seconds)

    def fail(self, message: str, error_type: str = "AgentError") -> Never:
        """End the turn in `turn.failed`; `run_turn` raises `TurnFailedError` then.

        Args:
            message: why, for whoever asked.
            error_type: a name that programs look at.

        Raises:
            TurnFailure: always; let it pass.

        Examples:
            >>> async def reply(turn):
            ...     turn.fail("no such order", "OrderError")
            >>> runtime.agents.register("orders", reply)
            >>> await client.run_turn(session_id="s", agent="orders", message="Where is order 7?")
            Traceback (most recent call last):
            TurnFailedError: no such order
        """
        raise TurnFailure(message, error_type)

    # -- for those who run it --------------------------------------------------------------------------

    async def run_script(self, reply: Callable[[Turn], Any], output: OutputSchema | None = None) -> None:
        """Run a scripted agent: an async function that returns text, or a generator that yields it.

        Args:
            reply: the script, a function of the turn.
            output: the form that its answer has; it may return a value of it.

        Raises:
            TurnFailure: the answer has another form; names the field.
        """
        self.transcript.begin(self.message, self._session.session_id, self._session.policy.max_steps, [])
        made = reply(self)
        if inspect.isasyncgen(made):
            async with aclosing(made):
                async for piece in made:
                    self.say(piece)
        elif inspect.isgenerator(made):
            for piece in made:
                self.say(piece)
        else:
            text = await made if isinstance(made, Awaitable) else made
            if text is not None:
                self.say(text if output is None else self._text_of(output, text))
        if output is not None:
            self._fit(output)
        self.transcript.end()

    def _text_of(self, output: OutputSchema, value: Any) -> str:
        try:
            return output.text_of(value)
        except Misfit as exc:
            raise misfit(self.agent, output, exc) from None

    def _fit(self, output: OutputSchema) -> None:
        try:
            self.transcript.output = output.check(self.transcript.text)
        except Misfit as exc:
            raise misfit(self.agent, output, exc) from None

    async def _get_permission(self, call: ToolCall) -> None:
        if self._session.policy.judge_model is not None:
            if not await self._judge(self._session.policy.judge_model, call):
                raise PermissionError(f"the call of {call.name} was not allowed by the judge")
            return
        approval = ToolApproval(
            tool_name=call.name,
            arguments=call.arguments if isinstance(call.arguments, dict) else {"json": call.arguments},
            tool_call_id=call.id,
            reason=f"policy {self._session.policy.name!r} asks before every tool",
        )
        prompt = HumanPrompt(
            questions=[HumanQuestion(kind="input", prompt=f"May {self.agent} call {call.name}?")],
            tool_approval=approval,
            source_tool_call_id=call.id,
            source_tool_name=call.name,
        )
        decision: Decision = await self._prompt(prompt, "permissionrequired")
        if decision == "deny":
            raise PermissionError(f"the call of {call.name} was not allowed")

    async def _prompt(self, prompt: HumanPrompt, type_: str) -> Any:
        if self.finished:
            raise PromptCancelled("this turn was cancelled")
        pending = PendingPrompt(prompt, asyncio.get_running_loop().create_future())
        self._prompts[prompt.request_id] = pending
        self._publish("prompt.required", {"type": type_, "data": msgspec.to_builtins(prompt)})
        try:
            answer = await pending.answer
        finally:
            self._prompts.pop(prompt.request_id, None)
        if answer is None:
            raise PromptCancelled(f"the question was closed without an answer: {prompt.questions[0].prompt}")
        return answer

    def _emit(self, raw: RawEvent) -> None:
        self._publish("turn.event", raw)
