"""The transport under an ordinary httpx client."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from weeyuga_core.measure.transport import MeasuringTransport

CHUNKED = b"HTTP/1.1 200 OK\r\nX-A: \xe9\r\nTransfer-Encoding: chunked\r\n\r\n"


def ordinary(**options) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=MeasuringTransport(), trust_env=False, **options)


def test_get_and_post(scripted):
    seen = []

    async def play():
        async def script(peer):
            while True:
                seen.append(await peer.request())
                await peer.send(CHUNKED, b'7\r\n{"a":1}\r\n0\r\n\r\n')

        async with scripted.serve(script) as server, ordinary() as client:
            return [await client.get(server.url), await client.post(server.url, json={"b": 2})], server.connections

    answers, connections = asyncio.run(play())
    assert [answer.json() for answer in answers] == [{"a": 1}] * 2
    assert answers[0].headers["x-a"] == "\xe9"
    assert answers[0].http_version == "HTTP/1.1"
    assert connections == 1
    assert all(b"accept-encoding: identity" in request.lower() for request in seen)
    assert seen[1].endswith(b'{"b":2}')


def test_body_is_handed_on_while_it_comes(scripted):
    async def play():
        had = asyncio.Queue()

        async def script(peer):
            await peer.request()
            await peer.send(CHUNKED)
            for piece in (b"a", b"b", b"c"):
                await peer.send(b"1\r\n%s\r\n" % piece)
                assert await had.get() == piece
            await peer.send(b"0\r\n\r\n")
            await peer.gone()

        got = []
        async with (
            scripted.serve(script) as server,
            ordinary() as client,
            client.stream("POST", server.url) as response,
        ):
            async for piece in response.aiter_bytes():
                got.append(piece)
                had.put_nowait(piece)
        return got

    assert asyncio.run(play()) == [b"a", b"b", b"c"]


def test_content_of_unknown_size_is_sent_sized(scripted):
    async def play():
        async def content():
            yield b"abc"
            yield b"def"

        seen = []

        async def script(peer):
            seen.append(await peer.request())
            await peer.send(b"HTTP/1.1 204 None\r\n\r\n")

        async with scripted.serve(script) as server, ordinary() as client:
            await client.post(server.url, content=content())
        return seen[0].lower()

    sent = asyncio.run(play())
    assert b"content-length: 6" in sent
    assert b"transfer-encoding" not in sent
    assert sent.endswith(b"\r\n\r\nabcdef")


def test_leaving_a_stream_early_frees_its_socket(scripted):
    async def play():
        async def script(peer):
            await peer.request()
            await peer.send(CHUNKED, b"1\r\na\r\n")
            await peer.gone()

        async with scripted.serve(script) as server, ordinary(timeout=None) as client:
            before = scripted.open_files()
            async with client.stream("GET", server.url) as response:
                assert response.status_code == 200
            await scripted.settled(lambda: server.open == 0)
            await scripted.settled(lambda: scripted.open_files() <= before)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("sent", "after", "raised"),
    [
        ((), "close", httpx.ReadError),
        ((CHUNKED, b"1\r\na\r\n"), "close", httpx.ReadError),
        ((CHUNKED, b"1\r\na\r\n"), "wait", httpx.ReadTimeout),
        ((), "wait", httpx.ReadTimeout),
        ((b"garbage\r\n",), "wait", httpx.RemoteProtocolError),
        ((CHUNKED, b"1\r\na\r\n", b"worse"), "wait", httpx.RemoteProtocolError),
    ],
)
def test_errors_are_those_of_httpx(scripted, sent, after, raised):
    async def play():
        timeout = httpx.Timeout(None, read=0.1 if raised is httpx.ReadTimeout else None)
        async with scripted.serve(scripted.answer(*sent, after=after)) as server, ordinary(timeout=timeout) as client:
            await client.get(server.url)

    with pytest.raises(raised) as error:
        asyncio.run(play())
    assert str(error.value)
    assert error.value.request.method == "GET"


def test_connecting_fails_as_in_httpx(scripted):
    async def play(url_of, **options):
        async with scripted.serve(scripted.answer()) as server, ordinary(**options) as client:
            await client.get(url_of(server))

    with pytest.raises(httpx.ConnectError):
        asyncio.run(play(lambda server: "http://no-such-host.invalid/"))
    with pytest.raises(httpx.ConnectTimeout):
        asyncio.run(
            play(lambda server: server.url.replace("http:", "https:"), timeout=httpx.Timeout(None, connect=0.1))
        )
    with pytest.raises(httpx.UnsupportedProtocol):
        asyncio.run(play(lambda server: "ftp://h.example/"))
