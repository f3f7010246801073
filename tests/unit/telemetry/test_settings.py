"""The URL, the variables and what is wrong with them."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.telemetry.making import make_telemetry
from dnworker.telemetry.settings import read_settings
from dnworker.telemetry.wanted import VARIABLES, is_wanted


def test_an_url_is_where_all_signals_go() -> None:
    settings = read_settings("http://10.0.0.1:4318/base/", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other"})
    urls = [one.url for one in (settings.traces, settings.metrics, settings.logs) if one is not None]
    assert urls == [f"http://10.0.0.1:4318/base/v1/{signal}" for signal in ("traces", "metrics", "logs")]


def test_a_variable_of_a_signal_is_its_whole_address() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2/in",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "500",
        "OTEL_METRICS_EXPORTER": "none",
    }
    settings = read_settings(None, environ)
    assert settings.traces is not None
    assert settings.logs is not None
    assert (settings.traces.url, settings.traces.timeout) == ("http://b:2/in", 0.5)
    assert (settings.logs.url, settings.logs.timeout) == ("http://a:1/v1/logs", 10.0)
    assert settings.metrics is None


def test_names_of_the_service_and_its_resource_are_read() -> None:
    environ = {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "a=b%20c,service.name=x"}
    assert read_settings("http://a", environ).resource == {"a": "b c", "service.name": "shop"}


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio", "is_parent_based"),
    [
        ("", "", 1.0, True),
        ("always_off", "", 0.0, False),
        ("traceidratio", "0.25", 0.25, False),
        ("parentbased_traceidratio", "0.5", 0.5, True),
        ("parentbased_always_off", "", 0.0, True),
    ],
)
def test_samplers_have_their_standard_names(
    sampler: str, argument: str, ratio: float, *, is_parent_based: bool
) -> None:
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    sampling = read_settings("http://a", environ).sampling
    assert (sampling.ratio, sampling.is_parent_based) == (ratio, is_parent_based)


WRONG = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://a",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere.pem",
    "OTEL_EXPORTER_OTLP_HEADERS": "geheim",
    "OTEL_TRACES_EXPORTER": "zipkin",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_RESOURCE_ATTRIBUTES": "a",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variable_is_one_line_that_names_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: WRONG[name]}
    with pytest.raises(UsageError) as caught:
        read_settings(None, environ)
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    assert "geheim" not in text
    with caplog.at_level(logging.WARNING):  # it may be for another program: without an URL it is told
        assert make_telemetry(None, environ) is None
    assert "telemetry is off" in caplog.text


@given(st.dictionaries(st.sampled_from([*WRONG, "OTEL_TRACES_SAMPLER_ARG"]), st.text(max_size=30)))
def test_any_text_is_read_or_refused(environ: dict[str, str]) -> None:
    try:
        read_settings(None, environ)
    except UsageError as exc:
        assert "\n" not in str(exc).partition("=")[0]


def test_it_is_off_unless_an_url_or_a_variable_says_so() -> None:
    assert not is_wanted({})
    assert not is_wanted({"OTEL_SERVICE_NAME": "shop"})
    assert all(is_wanted({name: "http://a"}) for name in VARIABLES)
    disabled = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}
    assert not is_wanted(disabled)
    assert make_telemetry("http://a", disabled) is None
    assert make_telemetry(False, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}) is None


OFF = """
import asyncio, sys
from dnworker import Runtime, Worker
async def main():
    worker = Worker("w")
    @worker.on_event("a")
    async def on_a(event, client): ...
    async with Runtime(port=0) as runtime:
        await runtime.add(worker)
        await runtime.fire("a")
        assert runtime.telemetry is None
asyncio.run(main())
print([name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf"))])
print([name for name in sys.modules if name.startswith("dnworker.telemetry")])
"""


def test_nothing_of_opentelemetry_is_imported_when_it_is_off() -> None:
    run = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=True, timeout=60)
    others, ours = run.stdout.splitlines()
    assert others == "[]"
    assert sorted(eval(ours)) == [
        "dnworker.telemetry",
        "dnworker.telemetry.making",
        "dnworker.telemetry.wanted",
    ]
