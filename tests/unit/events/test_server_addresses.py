"""Addresses of servers: what is read from them, and that no password is said."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.events.brokers.jetstream.servers import SignIn, parse_servers, secrets_in

HOSTS = st.sampled_from(["localhost", "10.0.0.5", "nats-1.example.org", "[::1]"])
ADDRESSES = st.lists(
    st.tuples(HOSTS, st.none() | st.integers(1, 65_535)), min_size=1, max_size=5, unique_by=lambda pair: pair
)
SECRET = "s3cr3t-w0rd"


@given(ADDRESSES, st.booleans(), st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_whatever_user_and_password_are_they_are_read_and_shown_nowhere(places, is_tls, user, password):
    if any(0xD800 <= ord(char) < 0xE000 for char in user + password):
        return  # no such character has a percent encoding
    scheme = "tls" if is_tls else "nats"
    hosts = [host if port is None else f"{host}:{port}" for host, port in places]
    signed = f"{quote(user, safe='')}:{quote(password, safe='')}"
    text = f"{scheme}://{signed}@{','.join(hosts)}"
    servers = parse_servers(text)
    assert servers.sign_in == SignIn(user=user, password=password)
    assert servers.wants_tls is is_tls
    assert servers.hosts == tuple(dict.fromkeys((host.strip("[]"), port or 4222) for host, port in places))
    assert secrets_in(text) == [signed]
    assert "@" not in f"{servers} {servers!r}"
    assert repr(SignIn(user=SECRET, password=SECRET, token=SECRET)).count(SECRET) == 0


@given(st.text(max_size=200))
@example("nats://")
@example("nats://[::1")
@example("nats://a" + ",a" * 3000)
@example("nats://a:99999999999999999999")
@example("nats://a\n:1")
def test_any_text_is_an_address_or_refused_in_one_short_line(text):
    try:
        servers = parse_servers(text)
    except UsageError as exc:
        said = str(exc)
        assert said.startswith("--broker")
        assert len(said.splitlines()) == 1
        assert len(said) < 400
    else:
        assert servers.hosts


@given(st.text(alphabet="ab1:/@,#?%. \\[]", max_size=12), st.text(alphabet="ab1:/@,#?%. \\[]", max_size=12))
def test_no_refusal_says_a_password_however_it_is_written(before, after):
    for text in (f"nats://u:{before}{SECRET}{after}@host", f"nats://u:{SECRET}{after},{before}@host"):
        try:
            servers = parse_servers(text)
        except UsageError as exc:
            assert SECRET not in str(exc)
        else:
            assert SECRET not in str(servers)


def test_a_token_may_stand_alone():
    assert parse_servers("nats://t0k@host").sign_in == SignIn(token="t0k")


def test_a_long_text_is_refused():
    with pytest.raises(UsageError, match="5,007 characters; an address has at most 4,096"):
        parse_servers("nats://" + "a" * 5_000)
