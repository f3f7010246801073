"""The lower rows of the Grafana dashboard: what failed, and the process of the runtime."""

from __future__ import annotations

from .panel import RED_FROM_1, RUNTIME, SHARED, WORKER, Panel, Query, or_zero

FAILURES = (
    Panel(
        "lines",
        "Failures and starts of workers",
        "How often workers ended in error, and were started again by the restart policy, in 5 minutes.",
        (
            Query(
                or_zero(f"sum by (worker) (increase(dnworker_worker_failures_total{WORKER}[5m]))"),
                "{{worker}} failed",
            ),
            Query(
                or_zero(f"sum by (worker) (increase(dnworker_worker_restarts_total{WORKER}[5m]))"),
                "{{worker}} started again",
            ),
        ),
        width=8,
    ),
    Panel(
        "lines",
        "Events that are tried again",
        "How often an event was given to a worker again, as its handler had failed, in 5 minutes.",
        (
            Query(
                or_zero(f"sum by (worker) (increase(dnworker_worker_retries_total{WORKER}[5m]))"),
                "{{worker}}",
            ),
        ),
        width=8,
    ),
    Panel(
        "lines",
        "Dead letters, by worker",
        "Events that are kept because a worker could not handle them." + SHARED,
        (Query(or_zero(f"max by (worker) (dnworker_dead_letters{WORKER})"), "{{worker}}"),),
        width=8,
        steps=RED_FROM_1,
    ),
)

PROCESS = (
    Panel(
        "lines",
        "Lateness of the event loop",
        "By how much the loop turns late. Above 0.1 s a handler blocks: `async def` code that computes or waits "
        "without `await`. Worker processes have loops of their own.",
        (Query(or_zero(f"max by (instance) (dnworker_loop_lag_seconds{RUNTIME})"), "{{instance}}"),),
        unit="s",
        steps=((None, "green"), (0.1, "yellow"), (1.0, "red")),
        width=8,
    ),
    Panel(
        "lines",
        "Memory",
        "Resident memory of the runtime's process, without worker processes.",
        (Query(or_zero(f"process_resident_memory_bytes{RUNTIME}"), "{{instance}}"),),
        unit="bytes",
        width=8,
    ),
    Panel(
        "lines",
        "CPU",
        "Cores that the runtime's process uses, without worker processes.",
        (Query(or_zero(f"rate(process_cpu_seconds_total{RUNTIME}[$__rate_interval])"), "{{instance}}"),),
        width=8,
    ),
    Panel(
        "lines",
        "Open files",
        "Files and sockets that are open, of those that the service may open (LimitNOFILE).",
        (Query(or_zero(f"process_open_fds{RUNTIME} / process_max_fds{RUNTIME}"), "{{instance}}"),),
        unit="percentunit",
        steps=((None, "green"), (0.8, "red")),
        width=8,
    ),
    Panel(
        "lines",
        "Limits",
        "How much of each limit of the runtime is used (`serve --limit`).",
        (Query(or_zero(f"max by (limit) (dnworker_limit_used_ratio{RUNTIME})"), "{{limit}}"),),
        unit="percentunit",
        width=8,
    ),
    Panel(
        "lines",
        "Free disk",
        "What is free of the disk with the file that keeps events; 0 where a runtime keeps no such file.",
        (
            Query(
                or_zero(
                    f"dnworker_journal_disk_free_bytes{RUNTIME} / dnworker_journal_disk_size_bytes{RUNTIME}"
                ),
                "{{instance}}",
            ),
        ),
        unit="percentunit",
        width=8,
    ),
    Panel(
        "table",
        "Nodes",
        "The chosen nodes with their versions. Two versions at a time are an upgrade that has not ended.",
        (Query(f"dnworker_info{RUNTIME}"),),
        columns=(
            ("instance", "Node"),
            ("node", "Name"),
            ("version", "Version"),
            ("broker", "Broker"),
            ("runtime_id", "Runtime"),
        ),
        width=24,
        height=6,
    ),
)
