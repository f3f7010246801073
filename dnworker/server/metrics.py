"""The endpoint `/metrics`, which Prometheus reads; its library is in the extra `dnworker[metrics]`."""

from __future__ import annotations

from starlette.responses import Response

from dnworker.core.errors import ApiError
from dnworker.engine.measuring import Measure, measure
from dnworker.server.api import ApiCall, endpoint
from dnworker.server.rights import Right

NOT_INSTALLED = "metrics need a library that is not installed here: pip install 'dnworker[metrics]'"


class NotInstalled(ApiError):
    """The library that writes metrics is missing."""

    status = 501
    code = "DN902"


@endpoint("GET", "/metrics", right=Right.RUNTIME, answer=str, media="text/plain", errors=(501,))
async def metrics(call: ApiCall) -> Response:
    """Tell how the runtime does, in the text format of Prometheus, or of OpenMetrics if `Accept` says so."""
    try:
        import prometheus_client  # noqa: F401  looked for before anything is measured
    except ImportError as exc:
        raise NotInstalled(NOT_INSTALLED) from exc
    engine = call.engine
    text, media = await engine.side_threads.run(_write, await measure(engine), _accepted(call))
    return Response(text, headers={"content-type": media})


def _write(measured: Measure, accepted: str) -> tuple[bytes, str]:
    """Write a measure down, on a side thread: it may be thousands of lines."""
    from prometheus_client import exposition

    from dnworker.server.metric_families import registry

    encode, media = exposition.choose_encoder(accepted)
    return encode(registry(measured)), media


def _accepted(call: ApiCall) -> str:
    """Return the header `Accept`."""
    return next((value.decode("latin-1") for name, value in call.scope["headers"] if name == b"accept"), "")


endpoints = [metrics]
