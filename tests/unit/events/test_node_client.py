"""The client goes on whatever comes, and whatever the file has that it signs in with."""

from __future__ import annotations

import os

import nats.errors
import pytest

from dnworker.events.brokers.jetstream.client import NodeClient

CREDS = (
    b"-----BEGIN NATS USER JWT-----\r\njwt.of.it\r\n------END NATS USER JWT------\n\n"
    b"-----BEGIN USER NKEY SEED-----\nSUSEED\n------END USER NKEY SEED------\n"
)


@pytest.mark.parametrize(
    "headers",
    [b"NATS/1.0 \xff\xff\xff\r\n\r\n", b"NATS/1.0 503 \xff\r\n\r\n", b"NATS/1.0\r\n\xff: \xff\r\n\r\n"],
)
async def test_headers_that_are_no_text_stop_nothing(headers):
    client, problems = NodeClient(), []

    async def note(exc):
        problems.append(exc)

    client._error_cb = note
    assert isinstance(await client._process_headers(headers), (dict, type(None)))


def test_a_subject_that_is_no_text_stops_nothing():
    message = NodeClient()._build_message(1, b"a.\xff", b"", b"data", None)
    assert (message.subject, message.data) == ("a.\ufffd", b"data")


def test_credentials_are_read_line_by_line(tmp_path):
    (tmp_path / "creds").write_bytes(CREDS)
    client = NodeClient()
    assert client._read_creds_user_jwt(str(tmp_path / "creds")) == b"jwt.of.it"
    assert client._read_creds_user_nkey(str(tmp_path / "creds")) == b"SUSEED"


@pytest.mark.parametrize("text", [b"", CREDS[:30], b"-----BEGIN NATS USER JWT-----", b"x" * 100_000])
def test_credentials_that_are_being_written_are_an_error_of_the_client(tmp_path, text):
    (tmp_path / "creds").write_bytes(text)
    for read in (NodeClient()._read_creds_user_jwt, NodeClient()._read_creds_user_nkey):
        with pytest.raises(nats.errors.Error):
            read(str(tmp_path / "creds"))


def test_a_pipe_in_the_place_of_credentials_holds_up_nothing(tmp_path):
    os.mkfifo(tmp_path / "creds")
    with pytest.raises(OSError, match="is no file"):
        NodeClient()._read_creds_user_jwt(str(tmp_path / "creds"))


def test_what_goes_wrong_in_signing_in_is_an_error_of_the_client_without_its_text():
    client = NodeClient()
    client._server_info = {"nonce": "n"}
    client._auth_configured = True
    client.options = {"verbose": False, "pedantic": False, "name": None, "no_echo": False, "token": None}

    def fail(nonce):
        raise TypeError("the secret")

    client._signature_cb = fail
    with pytest.raises(nats.errors.Error) as info:
        client._connect_command()
    assert "secret" not in str(info.value)
