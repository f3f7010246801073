"""Who may call the API: token, Host and Origin, over a real socket."""

from __future__ import annotations

import httpx
import pytest

from dnworker import Runtime


@pytest.mark.clause("6.1 auth")
@pytest.mark.clause("6.2 health")
async def test_ready_and_health_need_no_token(served, http):
    for path in ("/api/ready", "/api/health"):
        answer = await http.get(path, headers={"Authorization": ""})
        assert (answer.status_code, answer.json()["stage"]) == (200, "ready")


@pytest.mark.parametrize(
    "header", [None, "s3cret", "bearer s3cret", "Bearer", "Bearer wrong", "Bearer s\xe9cret"]
)
@pytest.mark.clause("6.1 auth")
async def test_everything_else_needs_the_right_bearer_token(served, header):
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        answer = await client.get("/api/runtime", headers=headers)
    assert answer.status_code == 401
    assert "bearer token" in answer.json()["detail"]


@pytest.mark.clause("13.20")
async def test_a_token_is_minted_when_none_is_given():
    first, second = Runtime(port=None), Runtime(port=None)
    assert first.tokens.main != second.tokens.main
    assert len(first.tokens.main) >= 32


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "169.254.169.254", "["])
@pytest.mark.clause("13.20")
async def test_a_foreign_host_is_refused_whatever_the_token(http, host):
    answer = await http.get("/api/runtime", headers={"Host": host})
    assert answer.status_code == 403
    assert host in answer.json()["detail"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://["])
@pytest.mark.clause("13.20")
async def test_a_foreign_origin_is_refused(http, origin):
    answer = await http.post("/api/events", json={"kind": "a"}, headers={"Origin": origin})
    assert answer.status_code == 403


@pytest.mark.clause("13.20")
async def test_its_own_origin_may_call(served, http):
    answer = await http.get("/api/runtime", headers={"Origin": served.url})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
