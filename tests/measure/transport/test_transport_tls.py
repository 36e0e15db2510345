"""TLS with certificates of a local authority."""

from __future__ import annotations

import asyncio
import re
import ssl

import pytest
import trustme

from weeyuga_core.measure.client import MeasuringClient

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def call(scripted, script, server_context, client_context, *, times=1, **where):
    async def play():
        async with (
            scripted.serve(script, tls=server_context, **where) as server,
            MeasuringClient(ssl_context=client_context) as client,
        ):
            return [await scripted.ask(client, server) for _ in range(times)]

    return asyncio.run(play())


@pytest.mark.parametrize("name", [None, "localhost"])
def test_stream_over_tls(scripted, authority, name, stamp_point):
    line = b"x" * 300_000

    async def script(peer):
        while True:
            await peer.request()
            await peer.send(CHUNKED, b"3\r\nabc\r\n", b"%x\r\n" % len(line), line, b"\r\n0\r\n\r\n")

    server = server_side(authority, "127.0.0.1", "localhost")
    first, second = call(scripted, script, server, trusting(authority), times=2, name=name)
    for got in (first, second):
        assert (got.reply.ending, got.reply.detail, got.stamp_point) == ("eof", "", "tls")
        assert (got.stamp_note is None) is (stamp_point == "socket")
        assert got.reply.body == b"abc" + line
    assert (first.connection, second.connection) == ("new", "reused")
    assert first.connect_ns > 0


@pytest.mark.parametrize(
    ("names", "trusted", "words"),
    [
        (("127.0.0.1",), False, "self-signed certificate|unable to get local issuer"),
        (("other.example",), True, "not valid for '127.0.0.1'"),
    ],
    ids=["unknown authority", "another host's"],
)
def test_bad_certificate_is_refused_with_words(scripted, authority, names, trusted, words):
    client = trusting(authority if trusted else trustme.CA())
    (got,) = call(scripted, scripted.answer(CHUNKED), server_side(authority, *names), client)
    assert (got.reply.ending, got.reply.status, got.connection, got.write_ns) == ("connect", None, None, None)
    assert "its certificate was refused" in got.reply.detail
    assert re.search(words, got.reply.detail)


def test_certificates_of_the_system_do_not_include_a_local_authority(scripted, authority):
    (got,) = call(scripted, scripted.answer(CHUNKED), server_side(authority, "127.0.0.1"), None)
    assert (got.reply.ending, "certificate was refused" in got.reply.detail) == ("connect", True)


def test_server_without_tls_is_told_apart(scripted, authority):
    async def play():
        async def script(peer):
            await peer.reader.read(1)
            await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await peer.gone()

        async with scripted.serve(script) as server, MeasuringClient(ssl_context=trusting(authority)) as client:
            server.url = server.url.replace("http:", "https:")
            return await scripted.ask(client, server)

    got = asyncio.run(play())
    assert got.reply.ending == "connect"
    assert "is the endpoint https?" in got.reply.detail


@pytest.mark.parametrize("sent", [(b"HTTP/1.1 200 OK\r\n\r\n", b"until the end"), (CHUNKED, b"3\r\nabc\r\n")])
def test_server_that_closes_over_tls(scripted, authority, sent):
    (got,) = call(
        scripted,
        scripted.answer(*sent, after="close"),
        server_side(authority, "127.0.0.1"),
        trusting(authority),
    )
    assert got.reply.status == 200
    assert got.reply.ending == ("reset" if sent[0] is CHUNKED else "eof")


def test_closing_frees_every_socket(scripted, authority):
    async def play():
        server_context = server_side(authority, "127.0.0.1")
        async with scripted.serve(scripted.answer(CHUNKED), tls=server_context) as server:
            before = scripted.open_files()
            async with MeasuringClient(ssl_context=trusting(authority)) as client:
                task = asyncio.create_task(scripted.ask(client, server, timeouts=scripted.NEVER))
                await scripted.settled(lambda: server.open > 0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await scripted.settled(lambda: server.open == 0)
            await scripted.settled(lambda: scripted.open_files() <= before)

    asyncio.run(play())
