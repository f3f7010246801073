"""`Agents`: finds who answers a turn, a script of the user's or a model (contract 6.6)."""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.capability.agents import INHERIT, AgentDefinition
from dnworker.core.errors import Conflict
from dnworker.core.listeners import Listeners
from dnworker.core.masking import mask
from dnworker.core.text import valid_text
from dnworker.sessions.model_endpoint import BadKey, ModelEndpoint
from dnworker.sessions.model_pool import ModelPool
from dnworker.sessions.tools import Tool, Tools
from dnworker.sessions.transcript import ToolCall
from dnworker.sessions.turn import TurnFailure

if TYPE_CHECKING:
    from dnworker.core.clock import Clock
    from dnworker.sessions.cassette import Cassette
    from dnworker.sessions.model_agent import ModelAgent
    from dnworker.sessions.model_answer import Models
    from dnworker.sessions.output_schema import OutputSchema
    from dnworker.sessions.session import Session
    from dnworker.sessions.turn import Turn, TurnRequest

log = logging.getLogger("dnworker.agents")

Reply = Callable[["Turn"], Any]
"""An async function that returns text, or a generator, async or not, that yields it."""

Definitions = Callable[[], Mapping[str, Sequence[AgentDefinition]]]
"""Gives the agents of every loaded capability, in the order of loading."""

UNNAMED = "default"

ADDED = "notebook"
"""The capability that agents added by hand are listed in, until it has a name of its own."""


class _Model(msgspec.Struct, frozen=True):
    """A model that answers for one agent."""

    endpoint: ModelEndpoint
    model: str
    prompt: str


class Agents:
    """The agents of one runtime: scripts by name, and models for those without one.

    Args:
        definitions: gives what the capabilities declare.
        tools: what agents may call.
        clock: for the waits between retries.
        home: gives the name of the capability that lists the agents that are added here.
    """

    def __init__(
        self, definitions: Definitions, tools: Tools, clock: Clock, home: Callable[[], str] = lambda: ADDED
    ) -> None:
        try:
            self.endpoint = ModelEndpoint.from_environment()
        except BadKey as exc:  # a turn that needs a model will fail, with the reason
            log.warning("%s", exc)
            self.endpoint = ModelEndpoint()
        self._definitions = definitions
        self._home = home
        self._tools = tools
        self._clock = clock
        self._pool = ModelPool()
        self._scripts: dict[str, Reply] = {}
        self._models: dict[str, _Model] = {}
        self._default: Reply | None = None
        self._cassettes: dict[str, Cassette] = {}
        self._outputs: dict[str, OutputSchema] = {}
        self.changed: Listeners[[]] = Listeners()
        """Called when somebody else answers from now on."""

    def register(self, name: str, reply: Reply, *, output: Any = None) -> None:
        """Let `reply` answer the turns of the agent `name`, in place of any other.

        Args:
            name: the agent.
            reply: a function of the turn.
            output: the form of its answers: a `TypedDict`, dataclass, msgspec `Struct` or pydantic model, or
                a JSON Schema as a dict. A turn whose answer is no JSON of it fails, and names the field.

        Raises:
            TypeError: it cannot be called.
            Invalid: `output` describes no object.
        """
        form = _form(output)
        self._scripts[name] = _check(reply)
        self._models.pop(name, None)
        self._cassettes.pop(name, None)
        self._give_form(name, form)
        self.changed.notify()

    def register_model(
        self,
        name: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        prompt: str = "",
        output: Any = None,
    ) -> None:
        """Let a model answer the turns of the agent `name`, in place of any script.

        Args:
            name: the agent.
            model: its name, as in `use_model`.
            base_url: as in `use_model`.
            api_key: as in `use_model`.
            prompt: the system prompt.
            output: the form of its answers, as in `register`; one of another form is asked for again.

        Raises:
            BadKey: a ValueError: the key cannot be sent.
            Invalid: `output` describes no object.
        """
        endpoint = ModelEndpoint.from_environment(model=model, base_url=base_url, api_key=api_key)
        form = _form(output)
        self._models[name] = _Model(endpoint, model, prompt)
        self._scripts.pop(name, None)
        self._cassettes.pop(name, None)
        self._give_form(name, form)
        self.changed.notify()

    def _give_form(self, name: str, form: OutputSchema | None) -> None:
        """Have the answers of an agent a form from now on, or none."""
        if form is None:
            self._outputs.pop(name, None)
        else:
            self._outputs[name] = form

    def default(self, reply: Reply | None) -> None:
        """Let `reply` answer for every agent without a script of its own; None takes it back.

        Raises:
            TypeError: it cannot be called.
        """
        self._default = None if reply is None else _check(reply)
        self.changed.notify()

    def remove(self, name: str) -> None:
        """Forget a script, model or cassette; harmless when there is none."""
        self._scripts.pop(name, None)
        self._models.pop(name, None)
        self._cassettes.pop(name, None)
        self._outputs.pop(name, None)

    def record(self, name: str, path: str | os.PathLike[str]) -> None:
        """Keep in a file what the agent `name` is asked and answers, until it is registered anew.

        Args:
            name: the agent, scripted or of a model, or one that a capability declares.
            path: the cassette: JSON, which is added to; what is asked again replaces what was recorded of it.
                Keys are not in it, nor values of variables and arguments whose names say that they are
                secret.

        Raises:
            Invalid: the file is something else, or cannot be written.
        """
        from dnworker.sessions.cassette import Cassette  # only who records or replays has one

        self._cassettes[name] = Cassette.to_record(path)
        self.changed.notify()

    def replay(self, name: str, path: str | os.PathLike[str]) -> None:
        """Answer for the agent `name` from what was recorded: nobody is asked, and no key is needed.

        A turn that asks what was not recorded fails, with the nearest request and what differs. Tools that a
        model wants called are called.

        Args:
            name: the agent.
            path: the cassette.

        Raises:
            Invalid: there is no such file, or it is something else.
        """
        from dnworker.sessions.cassette import Cassette

        self._cassettes[name] = Cassette.to_replay(path)
        self.changed.notify()

    def scripts(self) -> tuple[dict[str, Reply], Reply | None]:
        """Return the scripts by the names of their agents, and the one for all others, if there is one."""
        return dict(self._scripts), self._default

    def use_model(
        self, model: str | None = None, *, base_url: str | None = None, api_key: str | None = None
    ) -> None:
        """Answer the turns of agents without a script by a model.

        Args:
            model: its name, for agents and sessions that name none. What is before the slash is its provider,
                as in `anthropic/claude-sonnet-5-5`; without one it is OpenAI's, or of a compatible endpoint.
            base_url: of the provider's API, such as `http://127.0.0.1:8000/v1`; by default `OPENAI_BASE_URL`,
                or the variable of the model's provider, then the provider's own.
            api_key: by default `OPENAI_API_KEY`, or that of the model's provider; an endpoint of one's
                own may need none.
        """
        self.endpoint = ModelEndpoint.from_environment(model=model, base_url=base_url, api_key=api_key)
        self.changed.notify()

    def has_own(self, name: str) -> bool:
        """Return whether a script or a model answers for an agent, whatever a capability declares of it."""
        return name in self._scripts or name in self._models or self._replayed(name) is not None

    def is_there(self, session: Session, name: str) -> bool:
        """Return whether who answers for an agent is known: its own script, model or definition.

        One that no capability declares is there as soon as any script or model answers.
        """
        if self.has_own(name) or self._definition(session, name) is not None:
            return True
        return session.capability is None and (self._default is not None or self.endpoint.is_configured)

    def names(self) -> list[str]:
        """Return the names of all agents: scripts, models and those that capabilities declare."""
        declared = [d.name for ds in self._definitions().values() for d in ds]
        return list(dict.fromkeys([*self._scripts, *self._models, *declared]))

    def added(self) -> list[AgentDefinition]:
        """Return the scripts and models that no capability declares, as if the capability here declared them.

        Clients choose an agent among those that a runtime lists.
        """
        declared = {d.name for ds in self._definitions().values() for d in ds}
        home = self._home()
        scripts = [AgentDefinition(name, home, _summary(reply)) for name, reply in self._scripts.items()]
        models = [
            AgentDefinition(name, home, f"Answers by {own.model}", own.model)
            for name, own in self._models.items()
        ]
        return [agent for agent in [*scripts, *models] if agent.name not in declared]

    async def close(self) -> None:
        """Close the connections to models; a turn that comes afterwards opens others."""
        await self._pool.close()

    # -- whose turn it is ------------------------------------------------------------------------------

    def bind(self, capability: str | None, agent: str | None) -> tuple[str | None, str | None]:
        """Return the capability and agent of a new session (contract 6.6).

        Raises:
            Conflict: there is no such capability, it has no such agent, or several have one.
        """
        declared = self._definitions()
        if capability is not None:
            is_added = capability == self._home() and agent is not None and self.has_own(agent)
            if capability not in declared and not is_added:
                raise Conflict(
                    f"no capability {capability!r}; there are: {', '.join(declared) or 'none'}", code="DN605"
                )
            names = [d.name for d in declared.get(capability, ())]
            if agent is None:
                return capability, names[0] if names else None
            if agent not in names and not self.has_own(agent):
                known = ", ".join(names) or "none"
                raise Conflict(
                    f"capability {capability!r} has no agent {agent!r}; it has: {known}. Declare it in "
                    f"agents/{agent}.md, or answer for it: runtime.agents.register({agent!r}, reply)",
                    code="DN605",
                )
            return capability, agent
        fallback = next((name for name, agents in declared.items() if agents), None)
        if agent is None:
            return fallback, declared[fallback][0].name if fallback else None
        homes = [name for name, agents in declared.items() if any(d.name == agent for d in agents)]
        if len(homes) > 1:
            raise Conflict(
                f"agent {agent!r} is in several capabilities: {', '.join(homes)}; name one of them",
                code="DN605",
            )
        return (homes[0] if homes else None if self.has_own(agent) else fallback), agent

    def name_for(self, session: Session, request: TurnRequest | None = None) -> str:
        """Return the name of who answers."""
        return (request.agent if request else None) or session.agent or UNNAMED

    def model_for(self, session: Session, request: TurnRequest | None = None) -> str | None:
        """Return the name of the model that answers; for a script the requested one, if any."""
        name = self.name_for(session, request)
        requested = (request.model if request else None) or session.model
        if name in self._models:
            return self._models[name].model
        if name in self._scripts or self._default is not None:
            return requested
        definition = self._definition(session, name)
        own = None if definition is None or definition.model == INHERIT else definition.model
        return requested or own or self.endpoint.model

    def answering(self, session: Session, turn: Turn) -> Callable[[], Awaitable[None]]:
        """Return what answers a turn: its agent's script, or else a model; one that cannot be asked fails it.

        Raises:
            TurnFailure: there is neither; the turn never starts (contract 5.2).
        """
        script = self.script_for(turn)
        cassette = self._cassettes.get(turn.agent)
        if script is not None:
            run = partial(turn.run_script, script, self._outputs.get(turn.agent))
            if cassette is None or cassette.is_replay:
                return run
            from dnworker.sessions.cassette_models import record_script

            return partial(record_script, cassette, turn, run)
        try:
            model = self.model_agent(session, turn)
        except TurnFailure as exc:
            if turn.model is None:
                raise
            return partial(_fail, exc)  # as the reference: the agent begins, and its generation fails
        return partial(model.answer, turn, session.policy.max_steps)

    def script_for(self, turn: Turn) -> Reply | None:
        """Return the script that answers, if one does."""
        if (cassette := self._replayed(turn.agent)) is not None:
            from dnworker.sessions.cassette_models import play_script

            return partial(play_script, cassette) if cassette.model is None else None
        return None if turn.agent in self._models else self._scripts.get(turn.agent) or self._default

    def _replayed(self, agent: str) -> Cassette | None:
        cassette = self._cassettes.get(agent)
        return cassette if cassette is not None and cassette.is_replay else None

    def model_agent(self, session: Session, turn: Turn) -> ModelAgent:
        """Return the model that answers.

        Raises:
            TurnFailure: none is configured; says how to.
        """
        definition = self._definition(session, turn.agent)
        tools = self._tools_of(definition)
        own = self._models.get(turn.agent)
        prompt = own.prompt if own is not None else definition.prompt if definition is not None else ""
        return self.plain_model(turn.agent, turn.model, prompt, tools, self._outputs.get(turn.agent))

    def plain_model(
        self,
        agent: str,
        model: str | None,
        prompt: str = "",
        tools: Sequence[Tool] = (),
        output: OutputSchema | None = None,
    ) -> ModelAgent:
        """Return a model to ask on behalf of an agent.

        Raises:
            TurnFailure: none is configured; says how to.
        """
        from dnworker.sessions.cassette_models import RecordingModels, ReplayingModels
        from dnworker.sessions.model_agent import ModelAgent  # only turns that ask a model need them

        own = self._models.get(agent)
        cassette = self._cassettes.get(agent)
        if cassette is not None and cassette.is_replay:
            asked = model or (own and own.model) or cassette.model or ""
            models: Models = ReplayingModels(cassette, agent, asked)
            return ModelAgent(
                models,
                self.endpoint,
                asked,
                prompt=prompt,
                tools=tools,
                clock=self._clock,
                output=output,
            )
        endpoint, model = (self.endpoint, model) if own is None else (own.endpoint, model or own.model)
        if model is None or (own is None and endpoint.is_unset_for(model)):
            raise TurnFailure(
                f"agent {agent!r} has no script, and no model is configured. Script it: "
                f"runtime.agents.register({agent!r}, reply); or give it a model: set OPENAI_API_KEY (and "
                "OPENAI_BASE_URL for an endpoint of your own) and DNWORKER_MODEL, or call "
                "runtime.agents.use_model('gpt-...', base_url=..., api_key=...) (DN605)",
                "ModelNotConfigured",
            )
        there, name = endpoint.of(model)
        models = self._pool if cassette is None else RecordingModels(self._pool, cassette, model)
        return ModelAgent(models, there, name, prompt=prompt, tools=tools, clock=self._clock, output=output)

    async def judge(self, model: str, turn: Turn, call: ToolCall) -> bool:
        """Ask a model whether a tool may be called (policy `guard`); anything but `allow` is a no."""
        question = (
            f"An agent was asked: {turn.message}\nIt wants to call the tool {call.name} with "
            f"{json.dumps(mask(call.arguments))}. Answer with one word: allow, if the call is safe and "
            "serves what was asked; else deny."
        )
        verdict = await self.plain_model(turn.agent, model).complete([{"role": "user", "content": question}])
        return verdict.strip().strip(".").lower() == "allow"

    def _tools_of(self, definition: AgentDefinition | None) -> list[Tool]:
        return [t for t in self._tools.all() if definition is None or definition.allows(t.name, t.bare_name)]

    def _definition(self, session: Session, name: str) -> AgentDefinition | None:
        declared = self._definitions()
        own = declared.get(session.capability or "", ())
        everywhere = [d for agents in declared.values() for d in agents]
        return next((d for d in [*own, *everywhere] if d.name == name), None)


def _form(output: Any) -> OutputSchema | None:
    """Return the form of an agent's answers; None where they have none."""
    if output is None:
        return None
    from dnworker.sessions.output_schema import OutputSchema  # few agents have one

    return OutputSchema.of(output)


async def _fail(failure: TurnFailure) -> None:
    raise failure


def _summary(reply: Reply) -> str:
    """Return the first line of what a script says of itself, or its name."""
    lines = valid_text(inspect.getdoc(reply) or "").strip().splitlines()
    return lines[0] if lines else f"Answers by {getattr(reply, '__name__', type(reply).__name__)}"


def _check(reply: Reply) -> Reply:
    if not callable(reply):
        raise TypeError(f"an agent's reply is an async function of the turn, not {reply!r:.60}")
    return reply
