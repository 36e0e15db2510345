"""Asking a server what is not measured."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest

from weeyuga_core.enquiry import Answered, Enquiry, NoAnswer

URL = "http://127.0.0.1:9"
T = TypeVar("T")


def asking(
    server: Callable[[httpx.Request], Any], question: Callable[[Enquiry], Awaitable[T]], token: str | None = None
) -> T:
    """What comes of the question, put to a server that is a function."""

    async def run() -> T:
        async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http:
            return await question(Enquiry(URL, http, token))

    return asyncio.run(run())


async def silent(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    return httpx.Response(200)


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


def answering(status: int, **content: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(status, **content)


@pytest.mark.parametrize(
    ("question", "method"),
    [({}, "GET"), ({"json": {}}, "POST"), ({"method": "HEAD"}, "HEAD"), ({"json": {}, "method": "PUT"}, "PUT")],
)
def test_a_question_goes_out_by_its_method_with_the_token_and_on_a_connection_of_its_own(
    question: dict[str, Any], method: str
) -> None:
    seen: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    asking(server, lambda one: one.ask("/it", headers={"x-why": "test"}, **question), token="abc")
    (request,) = seen
    assert (request.method, str(request.url)) == (method, f"{URL}/it")
    assert request.headers["authorization"] == "Bearer abc"
    assert request.headers["connection"] == "close"
    assert request.headers["x-why"] == "test"


def test_no_token_is_sent_where_there_is_none_and_none_is_shown() -> None:
    assert "authorization" not in asking(lambda r: httpx.Response(200, headers=r.headers), _ask).headers
    assert "abc" not in repr(asking(answering(200), _itself, token="abc"))


async def _ask(one: Enquiry) -> Answered:
    return await one.ask("/it")


async def _itself(one: Enquiry) -> Enquiry:
    return one


@pytest.mark.parametrize(
    ("status", "content", "body", "words"),
    [
        (200, {"json": {"a": 1}}, {"a": 1}, ""),
        (200, {"json": [1]}, {}, ""),
        (200, {"text": "hi"}, {}, ""),
        (404, {"json": {"error": "no such model"}}, {"error": "no such model"}, "no such model"),
        (502, {"text": "bad gateway"}, {}, "bad gateway"),
        (503, {}, {}, ""),
    ],
)
def test_whatever_comes_back_is_an_answer(
    status: int, content: dict[str, Any], body: dict[str, Any], words: str
) -> None:
    answer = asking(answering(status, headers={"Server": "me"}, **content), _ask)
    assert (answer.status, answer.body, answer.words) == (status, body, words)
    assert answer.headers["server"] == "me"


def test_no_answer_in_time_is_told_with_the_time() -> None:
    with pytest.raises(NoAnswer, match=r"^no answer within 0\.01 s$"):
        asking(silent, lambda one: one.ask("/it", within_s=0.01))


def test_a_server_that_is_not_there_is_told_in_the_systems_words() -> None:
    with pytest.raises(NoAnswer, match="^Connection refused$"):
        asking(refused, _ask)


def test_a_url_that_is_none_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="Invalid port"):
        asking(answering(200), lambda one: Enquiry("http://host:port", one.http).ask("/it"))


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (answering(200, json={"a": 1}), {"a": 1}),
        (answering(200, text="hi"), {}),
        (answering(404, json={"error": "no"}), {}),
        (refused, {}),
        (silent, {}),
    ],
    ids=["an object", "another body", "a refusal", "not there", "silent"],
)
def test_what_a_server_does_not_tell_is_empty(server: Callable[[httpx.Request], Any], told: dict[str, Any]) -> None:
    assert asking(server, lambda one: one.told("/it", within_s=0.05 if server is silent else 10)) == told


def test_a_plugin_that_imports_it_slows_no_command_down() -> None:
    asked = "import sys, weeyuga_core.enquiry; print({'asyncio', 'httpx'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"
