"""Where the pairs differ from the reference's own, and why: (clients, runtimes, pattern of the place) to the reason."""

from __future__ import annotations

CLIENTS = ("dnworker", "dreadnode")
RUNTIMES = ("ours", "reference")

DIFFERENCES: dict[tuple[tuple[str, ...], tuple[str, ...], str], str] = {
    (CLIENTS, ("ours",), r"\.fetch_session_messages\[\d\]\.metadata\.(response_id|refusal)"): (
        "what the provider says of its own answer is not kept"
    ),
    (CLIENTS, ("ours",), r"\.fetch_session_messages\[[23]\]\.metadata\.agent"): (
        "a session that names no agent is bound to the loaded capability's, not to one that is bundled"
    ),
    (CLIENTS, ("ours",), r"\.session_after_turns\.(agent|capability)"): "the same",
    (("dnworker",), RUNTIMES, r"\.cancel_an_unknown_session\.raised"): (
        "the reference's error is private (contract 8.4); ours has a public name"
    ),
}
