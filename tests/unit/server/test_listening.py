"""Where a server listens: unix sockets, sockets of a service manager, TLS; over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import trustme

from dnworker import Runtime
from dnworker.cli.listen_options import inherited_sockets
from dnworker.core.errors import AddressInUse, UsageError
from dnworker.core.limits import Limits
from dnworker.server import bindings
from dnworker.server.bindings import bind, bind_unix, open_bindings
from dnworker.server.listening import Listening, make_listening

TOKEN = {"Authorization": "Bearer s3cret"}


@pytest.fixture
def short(tmp_path_factory):
    """A directory whose path is short enough for a socket."""
    import shutil
    import tempfile

    made = tempfile.mkdtemp(prefix="dnw")
    yield Path(made)
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


def write_certificate(authority, directory: Path, *names: str) -> tuple[Path, Path]:
    """Write a certificate and its key, as a renewal does: by rename."""
    issued = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    cert, key = directory / "cert.pem", directory / "key.pem"
    for file, content in (
        (cert, b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
        (key, issued.private_key_pem.bytes()),
    ):
        new = file.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o600)
        new.rename(file)
    return cert, key


def trusting(authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def over(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://localhost", headers=TOKEN
    )


def https_of(runtime) -> str:
    return next(one for one in runtime.server.addresses if one.startswith("https"))


# -- unix sockets ----------------------------------------------------------------------------------------


async def test_a_unix_socket_serves_its_owner_and_workers_have_a_port_of_loopback(short):
    path = short / "s"
    async with Runtime(uds=path, token="s3cret") as runtime:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert runtime.server.addresses == [f"unix:{path}", runtime.url]
        assert runtime.url.startswith("http://127.0.0.1:")
        async with over(path) as client:
            assert (await client.get("/api/runtime")).status_code == 200
            assert (await client.get("/api/runtime", headers={"Authorization": ""})).status_code == 401
            assert (await client.get("/api/runtime", headers={"Host": "evil.example"})).status_code == 403
    assert not path.exists()


async def test_the_mode_of_a_unix_socket_is_as_asked_for_whatever_the_umask(short):
    before = os.umask(0o077)
    try:
        with closing(bind_unix(short / "s", 0o660).socket):
            assert stat.S_IMODE((short / "s").stat().st_mode) == 0o660
    finally:
        os.umask(before)


def test_the_socket_of_a_dead_process_is_replaced(short):
    bind_unix(short / "s", 0o600).socket.close()
    assert (short / "s").exists()
    with closing(bind_unix(short / "s", 0o600).socket), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(short / "s"))


def test_a_socket_that_is_listened_to_is_refused_and_stays(short):
    with closing(bind_unix(short / "s", 0o600).socket):
        with pytest.raises(AddressInUse, match="in use: a process listens there"):
            bind_unix(short / "s", 0o600)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(short / "s"))


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to(path.parent / "x")])
def test_what_is_no_socket_is_refused_and_stays(short, make):
    make(short / "s")
    with pytest.raises(UsageError, match="something else than a socket"):
        bind_unix(short / "s", 0o600)
    assert os.path.lexists(short / "s")


def test_a_missing_directory_is_said(short):
    with pytest.raises(UsageError, match="there is no directory"):
        bind_unix(short / "no" / "s", 0o600)


def test_a_path_of_107_bytes_is_a_socket_and_one_more_is_refused(short):
    room = 107 - len(os.fsencode(short)) - 1
    with closing(bind_unix(make_listening("", 0, uds=short / ("x" * room)).uds, 0o600).socket):
        pass
    with pytest.raises(UsageError, match="at most 107"):
        make_listening("", 0, uds=short / ("x" * (room + 1)))


def test_a_socket_that_another_process_made_since_is_not_removed(short):
    ours = bind_unix(short / "s", 0o600)
    (short / "s").unlink()
    with closing(ours.socket), closing(bind_unix(short / "s", 0o600).socket):
        ours.remove()
        assert (short / "s").exists()


def test_two_that_start_at_once_over_a_stale_socket_do_not_both_get_it(short):
    from concurrent.futures import ThreadPoolExecutor

    bind_unix(short / "s", 0o600).socket.close()

    def start(_: int):
        try:
            return bind_unix(short / "s", 0o600)
        except AddressInUse:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [one for one in pool.map(start, range(8)) if one is not None]
    assert len(made) == 1
    made[0].socket.close()


async def test_a_start_that_fails_leaves_no_socket_behind(short):
    with closing(bind("127.0.0.1", 0)) as taken:
        runtime = Runtime(port=taken.getsockname()[1], token="s3cret")
        with pytest.raises(AddressInUse):
            await runtime.start()
        await runtime.stop()
    with pytest.raises(UsageError, match="DN|no regular file|cannot be read"):
        async with Runtime(tls_cert=short / "no.pem"):
            pass
    assert not list(short.iterdir())


# -- ports and sockets of a service manager --------------------------------------------------------------


def test_a_port_below_1024_without_the_right_names_the_ways_out(monkeypatch):
    class Denied(socket.socket):
        def bind(self, address):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(bindings.socket, "socket", Denied)
    with pytest.raises(AddressInUse, match=r"below 1024.*AmbientCapabilities=CAP_NET_BIND_SERVICE"):
        bind("127.0.0.1", 443)
    with pytest.raises(AddressInUse, match="cannot listen on 127.0.0.1:8443: Permission denied"):
        bind("127.0.0.1", 8443)


def test_sockets_of_a_service_manager_are_those_of_this_process_and_are_taken_once():
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    assert inherited_sockets(dict(environ), 8) == ()
    assert inherited_sockets(environ, 7) == (3, 4)
    assert environ == {"HOME": "/"}
    with pytest.raises(UsageError, match="LISTEN_FDS"):
        inherited_sockets({"LISTEN_PID": "7", "LISTEN_FDS": "many"}, 7)


async def test_inherited_sockets_are_served_and_stay_the_managers(short):
    with closing(bind("127.0.0.1", 0)) as tcp, closing(bind_unix(short / "s", 0o600).socket) as unix:
        runtime = Runtime(token="s3cret")
        runtime.listening = Listening(inherited=(tcp.fileno(), unix.fileno()))
        async with runtime:
            assert runtime.server.addresses == [
                f"http://127.0.0.1:{tcp.getsockname()[1]}",
                f"unix:{short / 's'}",
            ]
            async with over(short / "s") as client:
                assert (await client.get("/api/ready")).status_code == 200
        assert (short / "s").exists()
        with socket.socket() as caller:
            caller.connect(tcp.getsockname())  # the manager's goes on listening


def test_an_inherited_descriptor_that_does_not_listen_is_refused(short):
    with socket.socket() as idle, (short / "file").open("w") as file:
        for number in (idle.fileno(), file.fileno()):
            with pytest.raises(UsageError, match="ListenStream="):
                open_bindings(Listening(inherited=(number,)))


# -- TLS -------------------------------------------------------------------------------------------------


async def test_tls_serves_clients_and_workers_have_plain_loopback(short, authority):
    cert, key = write_certificate(authority, short)
    async with Runtime(tls_cert=cert, tls_key=key, token="s3cret") as runtime:
        async with httpx.AsyncClient(verify=trusting(authority), headers=TOKEN, trust_env=False) as client:
            assert (await client.get(f"{https_of(runtime)}/api/runtime")).status_code == 200
            assert (await client.get(f"{runtime.url}/api/runtime")).status_code == 200
        assert runtime.url.startswith("http://127.0.0.1:")


async def test_plain_http_to_the_tls_port_is_told_so_and_not_logged(short, authority, caplog):
    cert, key = write_certificate(authority, short)
    async with Runtime(tls_cert=cert, tls_key=key) as runtime:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(https_of(runtime).replace("https", "http"))
        assert (answer.status_code, "speaks TLS" in answer.json()["detail"]) == (400, True)
        port = runtime.server.port
        for rubbish in (b"\x16\x03\x01\x00\x05hello", b"\x16", b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(rubbish)
            writer.write_eof()
            await reader.read()
            writer.close()
    assert not [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]


async def test_half_open_handshakes_are_bounded_and_do_not_keep_others_out(short, authority):
    cert, key = write_certificate(authority, short)
    limits = Limits(unauthenticated=4, header_seconds=30)
    async with Runtime(tls_cert=cert, tls_key=key, token="s3cret", limits=limits) as runtime:
        port = runtime.server.port
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        for _, writer in idle[::2]:
            writer.write(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a hello
        async with httpx.AsyncClient(verify=trusting(authority), headers=TOKEN, trust_env=False) as client:
            assert (await client.get(f"{https_of(runtime)}/api/runtime")).status_code == 200
        assert runtime.server.connections.strangers <= 4
        closed = await asyncio.wait_for(
            asyncio.gather(*(_ended(reader) for reader, _ in idle[:30])), timeout=10
        )
        assert all(closed)
        for _, writer in idle:
            writer.close()


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def test_a_slow_handshake_ends_in_time(short, authority):
    cert, key = write_certificate(authority, short)
    async with Runtime(tls_cert=cert, tls_key=key, limits=Limits(header_seconds=0.2)) as runtime:
        for first in (b"", b"\x16\x03\x01\x02\x00\x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", runtime.server.port)
            writer.write(first)
            assert await asyncio.wait_for(_ended(reader), timeout=10)
            writer.close()
        assert len(runtime.server.connections) == 0


async def test_a_large_body_that_is_refused_over_tls_gets_its_answer(short, authority):
    cert, key = write_certificate(authority, short)
    async with Runtime(tls_cert=cert, tls_key=key, token="s3cret") as runtime:
        async with httpx.AsyncClient(verify=trusting(authority), trust_env=False) as client:
            answer = await client.post(f"{https_of(runtime)}/api/events", content=b"x" * 8_000_000)
        assert answer.status_code == 401


async def test_a_client_that_reads_nothing_over_tls_is_closed(short, authority):
    cert, key = write_certificate(authority, short)
    limits = Limits(body_seconds=0.3, header_seconds=0.3)
    async with Runtime(tls_cert=cert, tls_key=key, limits=limits) as runtime:
        plain = socket.create_connection(("127.0.0.1", runtime.server.port))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wrapped = await asyncio.to_thread(trusting(authority).wrap_socket, plain, server_hostname="localhost")
        wrapped.sendall(b"GET /panel/panel.js HTTP/1.1\r\nhost: localhost\r\n\r\n" * 10)
        async with asyncio.timeout(20):
            while len(runtime.server.connections):
                await asyncio.sleep(0.02)
        wrapped.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_tls_1_1_is_refused(short, authority):
    cert, key = write_certificate(authority, short)
    async with Runtime(tls_cert=cert, tls_key=key) as runtime:
        old = trusting(authority)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("localhost", runtime.server.port, ssl=old)


async def test_clients_need_a_certificate_where_their_authority_is_named(short, authority):
    cert, key = write_certificate(authority, short)
    ca = short / "ca.pem"
    ca.write_bytes(authority.cert_pem.bytes())
    async with Runtime(tls_cert=cert, tls_key=key, tls_client_ca=ca, token="s3cret") as runtime:
        known = trusting(authority)
        authority.issue_cert("client").configure_cert(known)
        async with httpx.AsyncClient(verify=known, headers=TOKEN, trust_env=False) as client:
            assert (await client.get(f"{https_of(runtime)}/api/runtime")).status_code == 200
            assert (
                await client.get(f"{https_of(runtime)}/api/runtime", headers={"Authorization": ""})
            ).status_code == 401
        foreign = trusting(authority)
        trustme.CA().issue_cert("client").configure_cert(foreign)
        for stranger in (trusting(authority), foreign):
            async with httpx.AsyncClient(verify=stranger, headers=TOKEN, trust_env=False) as client:
                with pytest.raises(httpx.TransportError):
                    await client.get(f"{https_of(runtime)}/api/ready")


async def test_new_connections_get_a_new_certificate_and_open_ones_go_on(short, authority):
    cert, key = write_certificate(authority, short)
    async with Runtime(tls_cert=cert, tls_key=key, token="s3cret") as runtime:
        before = await _serial(runtime, authority)
        async with httpx.AsyncClient(verify=trusting(authority), headers=TOKEN, trust_env=False) as client:
            failures: list[Exception] = []
            done = asyncio.Event()

            async def traffic(fresh: bool) -> None:
                while not done.is_set():
                    try:
                        if fresh:
                            await _serial(runtime, authority)
                        else:
                            (await client.get(f"{https_of(runtime)}/api/runtime")).raise_for_status()
                    except Exception as exc:
                        failures.append(exc)

            jobs = [asyncio.create_task(traffic(fresh)) for fresh in (True, False, True)]
            for _ in range(10):
                write_certificate(authority, short)
                assert runtime.server.reload_tls()
                await asyncio.sleep(0)
            done.set()
            await asyncio.gather(*jobs)
        assert not failures
        assert await _serial(runtime, authority) != before


async def _serial(runtime, authority) -> str:
    _, writer = await asyncio.open_connection("localhost", runtime.server.port, ssl=trusting(authority))
    serial = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    return str(serial)


async def test_wrong_files_at_a_reload_keep_the_old_certificate_and_are_one_line(short, authority, caplog):
    cert, key = write_certificate(authority, short)
    async with Runtime(tls_cert=cert, tls_key=key) as runtime:
        before = await _serial(runtime, authority)
        (short / "key.pem").write_text("rubbish")
        assert not runtime.server.reload_tls()
        assert await _serial(runtime, authority) == before
    (line,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert line.endswith("the certificate stays what it was")
    assert "\n" not in line


def _no_key(cert: Path, key: Path) -> None:
    key.unlink()


def _other_key(cert: Path, key: Path) -> None:
    key.write_bytes(trustme.CA().issue_cert("x").private_key_pem.bytes())


def _encrypted(cert: Path, key: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s

    loaded = s.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        loaded.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x"))
    )


def _exposed(cert: Path, key: Path) -> None:
    key.chmod(0o644)


def _rubbish(cert: Path, key: Path) -> None:
    cert.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")


def _pipe(cert: Path, key: Path) -> None:
    cert.unlink()
    os.mkfifo(cert)


def _swapped(cert: Path, key: Path) -> None:
    key.write_bytes(cert.read_bytes())


def _empty(cert: Path, key: Path) -> None:
    cert.write_text("")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_key, r"--tls-key .* cannot be read: No such file"),
        (_other_key, "is not the key of"),
        (_encrypted, "has a password"),
        (_exposed, r"open to others \(mode 0644\): `chmod 600"),
        (_rubbish, "--tls-cert"),
        (_pipe, "no regular file"),
        (_swapped, "no private key in PEM"),
        (_empty, "no certificate in PEM"),
    ],
)
async def test_wrong_files_of_tls_are_one_line(short, authority, spoil, said):
    cert, key = write_certificate(authority, short)
    spoil(cert, key)
    with pytest.raises(UsageError, match=said) as caught:
        async with Runtime(tls_cert=cert, tls_key=key):
            pass
    assert "\n" not in str(caught.value)
    assert caught.value.code == "DN926"


async def test_a_certificate_that_has_expired_is_served_with_a_warning(short, authority, caplog):
    import datetime

    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    issued = authority.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
    both = short / "both.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    both.chmod(0o600)
    async with Runtime(tls_cert=both):
        pass
    (line,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert "clients will refuse it: certificate has expired" in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_key": "k"}, "need a certificate"),
        ({"tls_cert": "c", "uds": "s"}, "leave one of them out"),
        ({"uds_mode": 0o70000}, "write the mode"),
        ({"trusted_proxies": ["proxy.example"]}, "is no address"),
        ({"trusted_proxies": "unix"}, "is a list"),
        ({"allowed_hosts": ["*.example.com"]}, "no host's name"),
        ({"allowed_hosts": ["https://a"]}, "without scheme"),
        ({"allowed_hosts": ["a:80"]}, "without scheme"),
        ({"allowed_hosts": [""]}, "no host's name"),
    ],
)
def test_what_does_not_go_together_or_is_no_address_is_refused_at_once(given, said):
    with pytest.raises(UsageError, match=said):
        Runtime(**given)
