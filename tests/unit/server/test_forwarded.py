"""Who the caller is behind a proxy, and which names and origins are served."""

from __future__ import annotations

import ipaddress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime
from dnworker.core.limits import Limits
from dnworker.server.connections import Connection, Connections
from dnworker.server.forwarded import FORWARDED_HOST, ForwardedHeaders, TrustedProxies
from dnworker.server.served_hosts import ServedHosts

PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8", "unix"])


async def seen(
    peer: str | None, headers: list[tuple[str, str]], *, is_unix=False, proxies=PROXIES, kind="http"
):
    """Return the scope that the application gets."""
    found = {}

    async def app(scope, receive, send):
        found.update(scope)

    connection = Connection(Connections(Limits()), is_unix=is_unix)
    scope = {
        "type": kind,
        "scheme": "http" if kind == "http" else "ws",
        "client": None if peer is None else (peer, 5),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "state": {"connection": connection},
    }
    await ForwardedHeaders(app, proxies)(scope, None, None)
    return found


def forwarded(text: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", text)]


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("9.9.9.9, 1.2.3.4", "1.2.3.4"),
        ("9.9.9.9, 1.2.3.4, 10.1.1.1", "1.2.3.4"),
        ("10.7.7.7, 10.1.1.1", "10.7.7.7"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("9.9.9.9, ::ffff:10.1.1.1", "9.9.9.9"),
        ("1.2.3.4, unix:", "1.2.3.4"),
        ("9.9.9.9, unknown, 10.1.1.1", "10.1.1.1"),
        ("unknown", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
async def test_the_caller_is_the_right_most_address_that_is_no_trusted_proxy(header, client):
    assert (await seen("10.0.0.1", forwarded(header)))["client"][0] == client


async def test_several_headers_are_one_list():
    headers = [*forwarded("9.9.9.9"), *forwarded("1.2.3.4, 10.1.1.1")]
    assert (await seen("10.0.0.1", headers))["client"][0] == "1.2.3.4"


async def test_scheme_and_host_are_those_of_the_nearest_trusted_proxy():
    headers = [("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil.example, a.example")]
    found = await seen("::ffff:10.0.0.1", headers)
    assert (found["scheme"], found[FORWARDED_HOST]) == ("https", "a.example")
    assert (await seen("10.0.0.1", headers, kind="websocket"))["scheme"] == "wss"
    assert (await seen("10.0.0.1", [("x-forwarded-proto", "gopher")]))["scheme"] == "http"


async def test_the_peer_of_the_unix_socket_counts_only_when_it_is_named():
    assert (await seen(None, forwarded("1.2.3.4"), is_unix=True))["client"] == ("1.2.3.4", 0)
    others = TrustedProxies(["0.0.0.0/0", "::/0"])
    assert (await seen(None, forwarded("1.2.3.4"), is_unix=True, proxies=others))["client"] is None


async def test_a_peer_of_tcp_that_is_gone_is_not_taken_for_that_of_the_unix_socket():
    assert (await seen(None, forwarded("1.2.3.4")))["client"] is None


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-real-ip"]
        ),
        st.one_of(
            st.text(st.characters(max_codepoint=255), max_size=40),
            st.lists(st.ip_addresses().map(str), max_size=4).map(", ".join),
            st.sampled_from(["https", "unix:", "10.0.0.1", "for=1.2.3.4;proto=https", "[", "a,,b", "%"]),
        ),
    ),
    max_size=6,
)
ADDRESSES = st.one_of(st.ip_addresses(), st.sampled_from(["::ffff:9.9.9.9", "127.0.0.1", "not an address"]))


def is_trusted(address: object) -> bool:
    try:
        found = ipaddress.ip_address(str(address))
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in ipaddress.ip_network(one) for one in ("10.0.0.0/8", "fd00::/8"))


@given(peer=ADDRESSES.filter(lambda one: not is_trusted(one)), headers=HEADERS)
async def test_an_untrusted_peer_never_changes_what_is_seen_of_it(peer, headers):
    found = await seen(str(peer), headers)
    assert found["client"] == (str(peer), 5)
    assert found["scheme"] == "http"
    assert FORWARDED_HOST not in found


@given(
    caller=st.ip_addresses().filter(lambda one: not is_trusted(one)), written=HEADERS, hops=st.integers(0, 3)
)
async def test_what_a_caller_writes_never_changes_the_address_that_its_proxies_saw(caller, written, hops):
    chain = ", ".join([str(caller), *(f"10.0.0.{n}" for n in range(hops))])
    caller_wrote = [one for one in written if one[0] == "x-forwarded-for"]
    found = await seen("10.9.9.9", [*caller_wrote, *forwarded(chain)])
    mapped = getattr(caller, "ipv4_mapped", None) or caller
    assert found["client"] == (str(mapped), 0)


# -- hosts and origins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "origin", "scheme", "forwarded_host", "is_served"),
    [
        ("workers.example", None, "http", None, True),
        ("WORKERS.example:8443", None, "http", None, True),
        ("evil.example", None, "https", None, False),
        ("workers.example.evil.example", None, "https", None, False),
        ("a.workers.example", None, "https", None, False),
        ("workers.example", "https://workers.example", "http", None, True),
        ("workers.example", "https://workers.example", "https", None, True),
        ("workers.example:443", "https://workers.example", "wss", None, True),
        ("workers.example", "http://workers.example", "https", None, False),
        ("workers.example", "http://workers.example", "wss", None, False),
        ("workers.example", "https://workers.example:444", "https", None, False),
        ("workers.example", "https://evil.example", "https", None, False),
        ("workers.example", "ftp://workers.example", "http", None, False),
        ("workers.example", "null", "https", None, False),
        ("127.0.0.1:8787", "https://workers.example", "https", "workers.example", True),
        ("127.0.0.1:8787", None, "https", "evil.example", False),
        ("evil.example", None, "https", "workers.example", False),
        ("127.0.0.1:8787", "http://127.0.0.1:8787", "https", "workers.example", False),
    ],
)
def test_names_that_are_allowed_are_served_to_their_own_pages_alone(
    host, origin, scheme, forwarded_host, is_served
):
    hosts = ServedHosts(["127.0.0.1"], ["workers.example"])
    for _ in range(2):  # the second time it is remembered
        assert (hosts.refusal(host, origin, scheme, forwarded_host) is None) == is_served


async def test_the_panel_opens_behind_a_proxy_that_takes_tls_off():
    async with (
        Runtime(token="s3cret", trusted_proxies=["127.0.0.1"], allowed_hosts=["workers.example"]) as runtime,
        httpx.AsyncClient(base_url=runtime.url, trust_env=False) as client,
    ):
        outside = {"Host": "workers.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "9.9.9.9"}
        answer = await client.post(
            "/panel/session",
            json={"token": "s3cret"},
            headers=outside | {"Origin": "https://workers.example"},
        )
        assert answer.status_code == 200
        assert "Secure" in answer.headers["set-cookie"]
        answer = await client.post(
            "/panel/session",
            json={"token": "s3cret"},
            headers=outside | {"Origin": "http://workers.example"},
        )
        assert answer.status_code == 403


@pytest.mark.parametrize(("trusted", "named"), [("127.0.0.0/8", "9.9.9.9"), ("10.0.0.0/8", "127.0.0.1")])
async def test_the_log_names_who_is_refused_by_the_word_of_a_trusted_proxy_alone(caplog, trusted, named):
    caplog.set_level("INFO", "dnworker.server")
    async with (
        Runtime(token="s3cret", trusted_proxies=[trusted], allowed_hosts=["workers.example"]) as runtime,
        httpx.AsyncClient(base_url=runtime.url, trust_env=False) as client,
    ):
        headers = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Host": "workers.example"}
        answer = await client.get("/api/runtime", headers=headers | {"Authorization": "Bearer hunter2"})
        assert answer.status_code == 401
        headers["X-Forwarded-Host"] = "evil.example"  # is refused where it counts
        expected = 403 if named == "9.9.9.9" else 401
        assert (await client.get("/api/runtime", headers=headers)).status_code == expected
    assert f"refused '/api/runtime' of {named}: 401" in caplog.text
    assert "hunter2" not in caplog.text
