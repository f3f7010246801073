"""What is refused before anything is attached: each in one line, and nothing is left of the attempt."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import force_setattr

from dnworker import Runtime
from dnworker.attach.attaching import attach
from dnworker.core.errors import DnworkerError, RuntimeUnavailable, UsageError, with_code
from dnworker.core.models import RuntimeInfo
from dnworker.server import runtime as served

from ...ports import free_port
from .rig import TOKEN, attached


async def refusal(here, url, **how) -> str:
    """Return the line of a refusal, which must leave nothing."""
    tasks = asyncio.all_tasks()
    with pytest.raises((UsageError, RuntimeUnavailable)) as caught:
        await attach(here, url, **how)
    assert here.attachment is None
    assert here.switch.route is None
    await asyncio.sleep(0)
    assert not {t for t in asyncio.all_tasks() - tasks if "attach" in t.get_name()}
    text = with_code(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "url", ["", "localhost:8787", "ftp://host", "http://", "http://a b", "http://h:99999"]
)
async def test_what_is_no_address_is_refused(here, url):
    text = await refusal(here, url)
    assert "is no address of a runtime, as the URL to attach to" in text
    assert text.endswith("(DN940)")


async def test_a_password_in_an_address_is_not_repeated(here):
    assert "hunter2" not in await refusal(here, "ftp://me:hunter2@host")


async def test_nothing_there_is_said(here):
    url = f"http://127.0.0.1:{free_port()}"
    assert f"no runtime answers at {url}" in await refusal(here, url, token=TOKEN)


async def test_a_wrong_token_is_said_without_it(here, there):
    text = await refusal(here, there.url, token="not-the-token")
    assert text == (
        f"{there.url} does not accept the token; name the file of its own with --token-file FILE (DN904)"
    )


async def test_the_file_of_a_token_is_read_and_refused_where_it_has_none(here, there, tmp_path):
    file = tmp_path / "there.token"
    assert f"--token-file {file} cannot be read: No such file" in await refusal(
        here, there.url, token_file=file
    )
    file.write_text("\n")
    assert f"--token-file {file} has no token" in await refusal(here, there.url, token_file=file)
    file.write_bytes(b"\xff\xfe" * 10_000)
    assert f"--token-file {file} has no token" in await refusal(here, there.url, token_file=file)
    file.write_text(f"{TOKEN}\n")
    async with attached(here, there, token=None, token_file=file) as attachment:
        assert attachment.kind_of_runtime == "dnworker"


async def test_a_runtime_is_not_attached_to_itself(there):
    text = await refusal(there, there.url, token=TOKEN)
    assert text == f"{there.url} is this runtime itself; name the address of another one (DN942)"


async def test_a_second_attachment_is_refused_and_the_first_goes_on(here, there):
    async with attached(here, there) as attachment:
        with pytest.raises(UsageError, match="this runtime is attached to http.*; detach it first"):
            await attach(here, there.url, token=TOKEN)
        assert here.attachment is attachment
        assert attachment.state == "following"


async def test_two_runtimes_are_not_attached_to_each_other(there):
    async with Runtime(port=0, token=TOKEN) as here:
        async with attached(here, there):
            with pytest.raises(UsageError, match="is attached to this runtime") as refused:
                await attach(there, here.url, token=TOKEN)
            assert (refused.value.code, there.attachment) == ("DN942", None)
        async with attached(there, here) as attachment:
            assert attachment.state == "following"


async def test_two_runtimes_that_attach_at_the_same_moment_do_not_both_stay(there):
    async with Runtime(port=0, token=TOKEN) as here:
        both = attach(here, there.url, token=TOKEN), attach(there, here.url, token=TOKEN)
        answers = await asyncio.gather(*both, return_exceptions=True)
        assert any(isinstance(one, UsageError) for one in answers)
        assert here.attachment is None or there.attachment is None


async def test_a_runtime_that_does_not_run_is_not_attached(there):
    with pytest.raises(UsageError, match="this runtime does not run"):
        await attach(Runtime(port=None), there.url, token=TOKEN)


async def test_another_version_of_the_api_is_refused(here, there):
    def report(call):
        return {"status": "ok", "version": "2.1.0", "stage": "ready"}

    force_setattr(served.health, "handler", report)  # an endpoint is frozen
    try:
        text = await refusal(here, there.url, token=TOKEN)
    finally:
        force_setattr(served.health, "handler", _health)
    assert text == (
        f"{there.url} speaks version 2.1.0 of the API, and this dnworker version 1; "
        "attach with a dnworker of that version (DN941)"
    )


_health = served.health.handler


async def web_server(answer: bytes):
    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>hello</html>", "is no runtime of dnworker or the SDK: /api/health answers no JSON"),
        (b'{"status": "ok"}', "is no runtime of dnworker or the SDK: /api/health answers {'status': 'ok'}"),
        (b'{"version": "1.0.0"}', "is no runtime of dnworker or the SDK: /api/runtime answers"),
    ],
)
async def test_another_server_is_told_from_a_runtime(here, body, said):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    async with await web_server(head + body) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        text = await refusal(here, url, token=TOKEN)
    assert said in text
    assert text.endswith("(DN941)")


async def test_a_server_that_never_answers_is_given_up(here, monkeypatch):
    monkeypatch.setattr("dnworker.attach.handshake.READY_SECONDS", 0.3)

    async def serve(reader, writer) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        text = await refusal(here, url, token=TOKEN)
    assert text == f"the runtime at {url} was not ready within 0.3 s (DN903)"


async def test_the_reference_is_known_by_what_it_does_not_say(here, there, monkeypatch):
    monkeypatch.setattr(there, "info", lambda: _as_the_reference(there))
    async with attached(here, there) as attachment:
        assert attachment.kind_of_runtime == "reference"


def _as_the_reference(there) -> dict:
    import msgspec

    fields = msgspec.to_builtins(RuntimeInfo(version="2.0.52", runtime_id=None))
    del fields["limits"]
    return fields


async def test_refusals_are_errors_that_need_no_traceback(here):
    with pytest.raises(DnworkerError) as caught:
        await attach(here, "nowhere")
    assert caught.value._render_traceback_() == [f"UsageError: {with_code(caught.value)}"]
