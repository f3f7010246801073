"""What the Grafana dashboard shows first: rows of panels, with their queries; `parts.py` builds them.

Every query answers 0 where nothing has happened yet, so that an empty panel always means: no runtime answers.
"""

from __future__ import annotations

from .panel import (
    BY_HANDLER,
    FAILED,
    IN_ERROR,
    OF_TURNS,
    RED_FROM_1,
    RUNTIME,
    SHARED,
    STATES,
    WORKER,
    Panel,
    Query,
    errors_of,
    or_zero,
    quantile,
)
from .panels_below import FAILURES, PROCESS

NOW = (
    Panel(
        "stat",
        "Ready",
        "Whether every chosen node answers, and says that it is ready. Not ready: `dnworker nodes`, the log of "
        "the service, and /api/ready say why.",
        (Query(or_zero(f"min(dnworker_ready{RUNTIME} or up{RUNTIME} * 0)")),),
        width=3,
        height=4,
        steps=((None, "red"), (1.0, "green")),
        states=(("0", "not ready", "red"), ("1", "ready", "green")),
    ),
    Panel(
        "stat",
        "Nodes that answer",
        "How many of the chosen nodes answered the last scrape.",
        (Query(or_zero(f"sum(up{RUNTIME})")),),
        width=3,
        height=4,
        steps=((None, "red"), (1.0, "green")),
    ),
    Panel(
        "stat",
        "Workers in error",
        "Workers that ended in the state error, and do not run. Next: `dnworker logs WORKER`, then `dnworker "
        "restart WORKER`.",
        (Query(or_zero(f"count(dnworker_worker_state{IN_ERROR} == 1)")),),
        width=3,
        height=4,
        steps=RED_FROM_1,
    ),
    Panel(
        "stat",
        "Runs that fail",
        "The share of all runs that raised an error, in the last 5 minutes.",
        (Query(or_zero(errors_of(window="5m"))),),
        unit="percentunit",
        width=3,
        height=4,
        steps=((None, "green"), (0.01, "yellow"), (0.1, "red")),
    ),
    Panel(
        "stat",
        "Dead letters",
        "Events that are kept because a worker could not handle them. Next: `dnworker dead` shows them and "
        "their errors, `dnworker dead retry` gives them to the worker again." + SHARED,
        (Query(or_zero(f"sum(max by (job, worker) (dnworker_dead_letters{WORKER}))")),),
        width=3,
        height=4,
        steps=RED_FROM_1,
    ),
    Panel(
        "stat",
        "Events that wait",
        "Events that wait for workers: in memory, and at the broker." + SHARED,
        (
            Query(
                f"(sum(dnworker_worker_queued_events{WORKER}) or vector(0)) + "
                f"(sum(max by (job, worker) (dnworker_cursor_pending_events{WORKER})) or vector(0))"
            ),
        ),
        width=3,
        height=4,
        steps=((None, "green"), (100.0, "yellow"), (1000.0, "red")),
    ),
    Panel(
        "stat",
        "Broker",
        "Whether the broker of every chosen node accepts events. If not, publishing is refused with status 507: "
        "look at the disk, or at the NATS servers.",
        (Query(or_zero(f"min(dnworker_broker_up{RUNTIME})")),),
        width=3,
        height=4,
        steps=((None, "red"), (1.0, "green")),
        states=(("0", "refuses", "red"), ("1", "accepts", "green")),
    ),
    Panel(
        "stat",
        "Up for",
        "Seconds since the newest start among the chosen nodes. A small number that stays small is a node that "
        "starts again and again.",
        (Query(or_zero(f"time() - max(dnworker_start_time_seconds{RUNTIME})")),),
        unit="dtdurations",
        width=3,
        height=4,
        steps=((None, "yellow"), (300.0, "green")),
    ),
    Panel(
        "table",
        "Workers",
        "Each worker with its state, and since how long it is in it; errors stand first.",
        (
            Query(
                f"(time() - dnworker_worker_state_since_timestamp_seconds{WORKER}) "
                f"* on (job, instance, worker) group_left (dnworker_worker_state) "
                f"(dnworker_worker_state{WORKER} == 1)"
            ),
        ),
        columns=(
            ("dnworker_worker_state", "State"),
            ("worker", "Worker"),
            ("instance", "Node"),
            ("Value", "For"),
        ),
        units=(("For", "dtdurations"),),
        states=STATES,
        sort=("State", False),
        height=9,
    ),
    Panel(
        "table",
        "Handlers",
        "Each handler in the chosen time: runs, runs that failed, how long the slowest 5 % take, and how long "
        "ago it last ran without an error. Empty: it has not.",
        (
            Query(f"sum by ({BY_HANDLER}) (increase(dnworker_handler_runs_total{FAILED}[$__range]))"),
            Query(f"sum by ({BY_HANDLER}) (increase(dnworker_handler_runs_total{WORKER}[$__range]))"),
            Query(quantile(0.95, BY_HANDLER, window="$__range")),
            Query(
                f"time() - max by ({BY_HANDLER}) (dnworker_handler_last_success_timestamp_seconds{WORKER})"
            ),
        ),
        columns=(
            ("worker", "Worker"),
            ("handler", "Handler"),
            ("Value #A", "Failed"),
            ("Value #B", "Runs"),
            ("Value #C", "p95"),
            ("Value #D", "Last success"),
        ),
        units=(("p95", "s"), ("Last success", "dtdurations"), ("Failed", "short"), ("Runs", "short")),
        sort=("Failed", True),
        height=9,
    ),
)

HOW_LONG = (
    Panel(
        "lines",
        "Runs, by outcome",
        "Runs of handlers that ended, per second. A warning is a run that raised nothing, in which something "
        "was not done.",
        (
            Query(
                or_zero(f"sum by (outcome) (rate(dnworker_handler_runs_total{WORKER}[$__rate_interval]))"),
                "{{outcome}}",
            ),
        ),
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "lines",
        "Runs that fail, by handler",
        "The share of a handler's runs that raised an error. Next: `dnworker logs WORKER` has the tracebacks.",
        (Query(or_zero(errors_of(BY_HANDLER)), "{{worker}} {{handler}}"),),
        unit="percentunit",
        steps=((None, "green"), (0.01, "yellow"), (0.1, "red")),
    ),
    Panel(
        "lines",
        "Durations of all runs",
        "How long half of the runs, 95 % and 99 % of them take at most; 0 where none ended.",
        tuple(
            Query(or_zero(quantile(share)), name)
            for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
        ),
        unit="s",
    ),
    Panel(
        "lines",
        "Durations, by handler",
        "How long 95 % of a handler's runs take at most.",
        (Query(or_zero(quantile(0.95, BY_HANDLER)), "{{worker}} {{handler}}"),),
        unit="s",
    ),
    Panel(
        "lines",
        "Oldest run, by worker",
        "For how long the oldest run of a worker goes on, tasks aside. A line that rises for an hour is a handler "
        "that hangs: `dnworker logs WORKER`, then `dnworker restart WORKER`.",
        (Query(or_zero(f"max by (worker) (dnworker_worker_oldest_run_seconds{WORKER})"), "{{worker}}"),),
        unit="s",
    ),
    Panel(
        "lines",
        "Schedules: time since the last success",
        "In intervals of the schedule: 1 is on time. More than 3 means that it does not run, or fails.",
        (
            Query(
                or_zero(
                    f"(time() - max by (job, {BY_HANDLER}) "
                    f"(dnworker_handler_last_success_timestamp_seconds{WORKER})) "
                    f"/ max by (job, {BY_HANDLER}) (dnworker_schedule_interval_seconds{WORKER})"
                ),
                "{{worker}} {{handler}}",
            ),
        ),
        unit="short",
        steps=((None, "green"), (3.0, "red")),
    ),
)

THROUGHPUT = (
    Panel(
        "lines",
        "Events, by kind",
        "Events that were accepted, per second; the 15 most frequent kinds." + SHARED,
        (
            Query(
                or_zero(f"topk(15, max by (kind) (rate(dnworker_events_total{RUNTIME}[$__rate_interval])))"),
                "{{kind}}",
            ),
        ),
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "lines",
        "Turns",
        "Turns of agents per second, by how they stand, and sessions that are known." + SHARED,
        (
            Query(
                or_zero(f"max by (kind) (rate(dnworker_events_total{OF_TURNS}[$__rate_interval]))"),
                "{{kind}}",
            ),
            Query(or_zero(f"max(dnworker_sessions{RUNTIME})"), "sessions"),
        ),
    ),
    Panel(
        "lines",
        "Events that wait in memory",
        "Events that a worker has not taken yet. It rises where handlers take longer than events come.",
        (Query(or_zero(f"sum by (worker) (dnworker_worker_queued_events{WORKER})"), "{{worker}}"),),
    ),
    Panel(
        "lines",
        "Events that wait at the broker",
        "Events that a durable broker keeps for a worker, which has not handled them. A line that rises and never "
        "falls: the worker is down, too slow, or fails again and again." + SHARED,
        (Query(or_zero(f"max by (worker) (dnworker_cursor_pending_events{WORKER})"), "{{worker}}"),),
    ),
    Panel(
        "lines",
        "Runs under way",
        "Runs of handlers that have not ended.",
        (Query(or_zero(f"sum by (worker) (dnworker_worker_running{WORKER})"), "{{worker}}"),),
    ),
    Panel(
        "lines",
        "Events that were refused, or given up",
        "Events per second that the broker did not accept (status 507), and what had to go because a limit was "
        "used up. History, replay and log let go of the oldest as a rule; queue, held and journal lose something.",
        (
            Query(or_zero(f"sum(rate(dnworker_events_refused_total{RUNTIME}[$__rate_interval]))"), "refused"),
            Query(
                or_zero(f"sum by (limit) (rate(dnworker_limit_dropped_total{RUNTIME}[$__rate_interval]))"),
                "limit {{limit}}",
            ),
        ),
        unit="reqps",
    ),
)

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Now", NOW),
    ("Errors and durations", HOW_LONG),
    ("Events and what waits", THROUGHPUT),
    ("Failures, tries and dead letters", FAILURES),
    ("Process", PROCESS),
)
