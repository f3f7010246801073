"""`Runtime`: an engine with a server and a panel; the object that users hold."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.compat import install as install_compat
from dnworker.core.clock import Clock
from dnworker.core.extras import extra_needed
from dnworker.core.limits import Limits
from dnworker.core.restarts import RestartPolicy
from dnworker.core.retry_policies import Retry
from dnworker.core.schedule import Catchup
from dnworker.engine.engine import Engine
from dnworker.engine.output import kept_output
from dnworker.engine.placement import Place
from dnworker.engine.tokens import WorkerScope
from dnworker.server.listening import Listening, make_listening
from dnworker.telemetry.making import make_telemetry

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from dnworker.events.brokers.base import Broker
    from dnworker.flow.flow_map import FlowMap
    from dnworker.panel.actions import Actions
    from dnworker.panel.feed import Feed
    from dnworker.panel.page import PanelPage
    from dnworker.server.embedded import EmbeddedServer
    from dnworker.telemetry.settings import TelemetrySettings


class Runtime(Engine):
    """Runs workers in this process, and a server for those that run elsewhere.

    Use it as `async with Runtime(port=0) as runtime:`. Everything happens on the loop it was started on;
    call it from there only.

    Args:
        port: of the server; 0 picks a free one, None starts no server.
        host: where the server listens; loopback by default.
        token: the bearer token of the API; minted when None.
        runtime_id: what workers see as `DREADNODE_RUNTIME_ID`; minted when None.
        clock: what schedules, backoff and timestamps go by; the machine's by default.
        flags: values of flags by capability, such as `{"demo": {"loud": True}}`.
        capability_dirs: directories that `discover` and every reload look through.
        token_file: holds the token, and wins over `token`; written if it is not there.
        journal: a file in which events, invocations and states are kept; None keeps none.
        limits: how much of the machine it may use, in bytes and seconds.
        restart: whether worker processes that fail are started again: `"no"`, `"on-failure"`, or a policy.
        process_locals: whether errors of worker processes have the values of variables.
        observe: whether worker processes that run the Dreadnode SDK are made to report what handlers do.
        worker_scope: what the tokens of worker processes may do: `operator`, all that `token` may; `worker`,
            what the page on security lists.
        broker: what keeps events; in memory by default, in a file with `SqliteBroker(FILE)`, which has the
            journal, too.
        catchup: with a durable broker, whether a schedule whose runs were missed while no runtime was there
            runs `once` at the start of its worker; by default they are counted, `skip`.
        keep_state: workers (`capability:worker`) whose `worker.state` is written after each invocation, and
            restored before their next startup.
        check_payloads: workers (`capability:worker`) whose `client.publish` refuses a payload that breaks the
            type which a handler declares for its kind.
        retry: which workers are given events again whose handlers have failed, such as
            `{"demo:bridge": "5,backoff=1s..5m,on=OSError"}`, or words as of `serve --retry`.
        node: the name of this runtime among those that share its broker; by default the machine's, and four
            hexadecimal digits.
        labels: what this node has, such as `gpu`.
        require: the labels that a node must have to run a worker, such as `{"demo:bridge": ["gpu"]}`.
        replicas: how many members a worker that keeps no state has among the nodes, such as
            `{"demo:bridge": 4}`; an event goes to one of them.
        ordered_by: `{"demo:bridge": "session"}` has all events of a session go to one member.
        uds: the path of a unix socket to listen on, in the place of `host` and `port`. Worker processes then
            have a free port of loopback, as they do beside TLS.
        uds_mode: of that socket, such as `0o660`; `0o600` by default.
        tls_cert: a file with a certificate, and those that lead to its authority, PEM: the server speaks TLS.
        tls_key: the file with its key, PEM; the same file by default.
        tls_client_ca: a file with authorities, PEM: clients must show a certificate of one of them.
        trusted_proxies: whose `X-Forwarded-For`, `-Proto` and `-Host` headers count: addresses, networks, and
            `unix` for whoever connects over the unix socket.
        allowed_hosts: names that requests may be sent to, beside loopback's and `host`.
        telemetry: the URL of an OpenTelemetry collector that gets spans, metrics and logs, such as
            `http://127.0.0.1:4318`; False for none. By default the standard variables decide, such as
            `OTEL_EXPORTER_OTLP_ENDPOINT`.

    Attributes:
        agents: who answers turns: `register(name, reply)` sets a script, `register_model(name, model)` a
            model.
        tools: what agents may call: `register(function)` adds one.
        clock: as given.
        runtime_id: as given, or minted.
        listening: where the server listens, and whom it believes; None without one. `start` reads it.
        logs: the lines of the workers' logs. What handlers print and log is in it where the notebook or
            `serve` runs them, and in a block of `capture_output()`; elsewhere it only goes where the
            program's output goes. That of worker processes always is.

    Raises:
        UsageError: an address, a name or a file of the server is none, or they do not go together.
        ValueError: a label, a number, or what `require`, `replicas` or `ordered_by` names, is none; or there
            are replicas, and the broker is not shared.

    Examples:
        >>> async with Runtime(port=None) as own:
        ...     managed = await own.add(Worker("bridge"))
        ...     print(managed.state)
        running
    """

    server: EmbeddedServer | None = None
    actions: Actions | None = None
    """What the panel can do beside; set it before the panel is first shown."""
    _feed: Feed | None = None

    def __init__(
        self,
        *,
        port: int | None = 0,
        host: str = "127.0.0.1",
        token: str | None = None,
        runtime_id: str | None = None,
        clock: Clock | None = None,
        flags: Mapping[str, Mapping[str, bool]] | None = None,
        capability_dirs: Sequence[Path] = (),
        token_file: Path | None = None,
        journal: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        restart: RestartPolicy | str | None = None,
        process_locals: bool = False,
        observe: bool = True,
        worker_scope: WorkerScope = "operator",
        broker: Broker | None = None,
        catchup: Catchup = "skip",
        keep_state: Iterable[str] = (),
        check_payloads: Iterable[str] = (),
        retry: Retry | None = None,
        node: str | None = None,
        labels: Collection[str] = (),
        require: Mapping[str, Collection[str]] | None = None,
        replicas: Mapping[str, int] | None = None,
        ordered_by: Mapping[str, str] | None = None,
        uds: str | os.PathLike[str] | None = None,
        uds_mode: int | None = None,
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        tls_client_ca: str | os.PathLike[str] | None = None,
        trusted_proxies: Collection[str] = (),
        allowed_hosts: Collection[str] = (),
        telemetry: str | bool | TelemetrySettings | None = None,
    ) -> None:
        listening = make_listening(
            host,
            port or 0,
            uds=uds,
            uds_mode=uds_mode,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            trusted_proxies=trusted_proxies,
            allowed_hosts=allowed_hosts,
        )
        super().__init__(
            token=token,
            runtime_id=runtime_id,
            clock=clock,
            flags=flags,
            capability_dirs=capability_dirs,
            token_file=token_file,
            journal=journal,
            limits=limits,
            restart=restart,
            process_locals=process_locals,
            broker=broker,
            catchup=catchup,
            retry=retry,
            place=_place_beside(broker, Place(node, labels, require, replicas, ordered_by)),
        )
        self.services.use(is_observed=observe, keep_state=keep_state, check_payloads=check_payloads)
        self.listening: Listening | None = None if port is None and uds is None else listening
        self.tokens.worker_scope = worker_scope
        self.telemetry = make_telemetry(telemetry, os.environ)

    async def start(self) -> None:
        """Listen, if there is a port; returns when the API answers. `async with` calls it.

        Raises:
            AddressInUse: an OSError: the port is in use; the message says so and what to do.
            JournalError, BrokerError: the journal, or what keeps the events, cannot be written.

        Examples:
            >>> own = Runtime(port=0)
            >>> await own.start()
            >>> own.url
            'http://127.0.0.1:...'
            >>> await own.stop()
            True
        """
        if self.is_started:
            return
        install_compat()
        await super().start()
        if self._feed is not None:
            self._feed.resume()

    async def stop(self, *, within: float | None = None) -> bool:
        """Stop all workers in full, then the turns, the server and the panel; may be called again.

        Args:
            within: seconds after which workers and turns that have not stopped are left behind; None waits.

        Returns:
            Whether nothing was left behind.

        Examples:
            >>> await runtime.stop(within=5)
            True
        """
        try:
            return await super().stop(within=within)
        finally:
            if self._feed is not None:
                self._feed.close()

    def capture_output(self) -> AbstractContextManager[None]:
        """Copy what handlers of this runtime print and log into `logs` and traces while the block runs.

        It goes where the program's output goes all the same. What is written to another stream than the
        `sys.stdout` and `sys.stderr` of the block's beginning is not seen.

        Returns:
            A context manager for `with`, which may be around the start and the stop.

        Examples:
            >>> own = Runtime(port=None)
            >>> greeter = Worker("greeter")
            >>> @greeter.on_event("demo.greeted")
            ... async def on_greeted(event, client):
            ...     print("hello", event.payload["name"])
            >>> with own.capture_output():
            ...     async with own:
            ...         managed = await own.add(greeter)
            ...         trace = await own.fire("demo.greeted", {"name": "Ada"})
            hello Ada
            >>> [line.text for line in own.logs.tail()]
            ['hello Ada']
        """
        return kept_output(self)

    async def _open(self) -> None:
        if self.listening is None:
            return
        with extra_needed("the server of a Runtime"):
            from dnworker.server.embedded import EmbeddedServer

        self.resources.push_async_callback(self._stop_server)
        self.server = EmbeddedServer(self, self._page(), self.listening)
        await self.server.start()
        self.tokens.write()

    async def _stop_server(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            await server.stop()

    @property
    def url(self) -> str | None:
        """Where the API is for this machine, such as `http://127.0.0.1:8787`; None without a server.

        Beside a unix socket or TLS this is a port of loopback; `server.addresses` has the others.
        """
        return self.server.url if self.server is not None else None

    @cached_property
    def app(self) -> ASGIApp:
        """The API as an ASGI application without a gatekeeper, for callers in this process."""
        with extra_needed("the API of a Runtime"):
            from dnworker.server.app import make_app

        return make_app(self, self._page(), hosts=None)

    def _page(self) -> PanelPage:
        from dnworker.panel.page import PanelPage

        return PanelPage(lambda: self.feed)

    def map(self, minutes: float = 15, *, only: str | None = None) -> FlowMap:
        """Return what flows where: who publishes which kind, and who hears it.

        Args:
            minutes: of the counts that it shows, at most 15; 0 shows what handlers' sources say alone.
            only: the worker to show, with its kinds and who else hears and publishes those; None for all.

        Returns:
            A `FlowMap`: a picture in a notebook, text when printed; `.svg` and `.mermaid` are its text.

        Raises:
            NotFound: there is no such worker.
            ValueError: minutes are not between 0 and 15.

        Examples:
            >>> @worker.on_event("demo.greeted")
            ... async def on_greeted(event, client):
            ...     await client.publish("demo.answered")
            >>> managed = await runtime.add(worker)
            >>> print(runtime.map(0))
            notebook
              demo.greeted → notebook:bridge
              notebook:bridge → demo.answered
            ! Nobody listens to demo.answered: notebook:bridge publishes it
            ! Nobody publishes demo.greeted: notebook:bridge waits for it
        """
        from dnworker.flow.flow_map import FlowMap

        if not 0 <= minutes <= 15:
            raise ValueError(
                f"minutes is {minutes!r}; a map shows the last 15 minutes at most, and 0 for none"
            )
        if only is None:
            return FlowMap(self.flow.facts_now(minutes))
        name = self.worker(only).qualified_name
        return FlowMap(self.flow.facts_now(minutes), f"What flows where around {name}", only=name)

    @property
    def feed(self) -> Feed:
        """The source of every view of the panel; what they can do beside is set by `actions`."""
        if self._feed is None:
            from dnworker.panel.actions import Actions
            from dnworker.panel.feed import Feed

            self._feed = Feed(self, self.actions or Actions(self))
        return self._feed


def _place_beside(broker: Broker | None, place: Place) -> Place:
    if place.partitions and (broker is None or not broker.capabilities.is_shared):
        raise ValueError("replicas are for several nodes, which share a broker; this one is not shared")
    return place
