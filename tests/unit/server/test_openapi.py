"""Every endpoint, driven with whatever its OpenAPI entry allows and forbids, against a real server."""

from __future__ import annotations

import asyncio
import threading

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dnworker import Runtime
from dnworker.server import once
from dnworker.server.openapi import document
from dnworker.server.routes import ENDPOINTS

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

schema = schemathesis.openapi.from_dict(document(ENDPOINTS))


@schema.hook
def map_query(context, query):
    """Let what is generated for the shell reach it as a comment: nothing generated is ever run."""
    if query and isinstance(query.get("command"), str):
        query["command"] = "true # " + query["command"].replace("\n", " ").replace("\r", " ")
    return query


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A runtime with a loop and a thread of its own, in an empty directory."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        patch.chdir(home)
        patch.setattr(once, "WAIT_SECONDS", 0.01)  # nobody ends what is begun here
        ready, done, told = threading.Event(), asyncio.Event(), {}

        async def serve():
            async with Runtime(port=0, token="s3cret") as runtime:
                runtime.agents.default(lambda turn: "ok")
                runtime.sessions.create("0")
                told.update(url=runtime.url, loop=asyncio.get_running_loop())
                ready.set()
                await done.wait()

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        assert ready.wait(10)
        yield told["url"]
        told["loop"].call_soon_threadsafe(done.set)
        thread.join(20)


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
    ],
)
def test_no_request_gets_an_answer_that_the_document_does_not_allow(case, served):
    headers = {"Authorization": "Bearer s3cret"}
    # 503 is what /api/ready is for
    checks = [one for one in CHECKS if case.path != "/api/ready" or one is not not_a_server_error]
    case.call_and_validate(base_url=served, headers=headers, checks=checks, timeout=30)
