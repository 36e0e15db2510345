"""What `brain check` says to a brain and asks of a store."""

from __future__ import annotations

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from attrs import frozen

from weeyuga_brain_routed import check
from weeyuga_core.errors import UsageError
from weeyuga_core.model.tags import HEADER_ROUTE

CALL_S = 120.0
"""A brain may have to load a model first."""
ANSWER_S = 10.0
POLL_S = 0.3
PATIENCE = (429, 502, 503, 504)
"""Statuses of a store that may answer better in a moment."""

API_KEY_ENV, USER_ENV, PASSWORD_ENV, CA_ENV = (f"WEEYUGA_ES_{name}" for name in ("API_KEY", "USER", "PASSWORD", "CA"))


@frozen(kw_only=True)
class Enquiry:
    """What the operator asked for."""

    brain: str
    store: str
    index: str
    path: str
    model: str
    route: str | None
    token: str | None
    timeout_s: float


@frozen(kw_only=True)
class Answer:
    """What the brain answered, and the envelopes that were found."""

    statuses: tuple[int, ...]
    documents: tuple[Mapping[str, Any], ...]


async def enquire(enquiry: Enquiry, sent: Sequence[check.Sent]) -> Answer:
    """Send the calls, then ask the store until each has an envelope or the time is up. Raises UsageError."""
    async with httpx.AsyncClient(trust_env=False, timeout=CALL_S) as http:
        statuses = tuple([await _send(http, enquiry, one) for one in sent])
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_S, headers=_credentials(), verify=_trust()) as http:
        return Answer(statuses=statuses, documents=await _wait_for(http, enquiry, sent))


async def _send(http: httpx.AsyncClient, enquiry: Enquiry, one: check.Sent) -> int:
    body = {
        "model": enquiry.model,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 1,
        "stream": True,
    }
    headers = dict(one.headers)
    if enquiry.token:
        headers["authorization"] = f"Bearer {enquiry.token}"
    if enquiry.route:
        headers[HEADER_ROUTE] = enquiry.route
    try:
        answer = await http.post(enquiry.brain.rstrip("/") + enquiry.path, json=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(f"--brain {enquiry.brain}: {str(error) or type(error).__name__}") from error
    return answer.status_code


async def _wait_for(
    http: httpx.AsyncClient, enquiry: Enquiry, sent: Sequence[check.Sent]
) -> tuple[Mapping[str, Any], ...]:
    """The envelopes of the calls; whatever there is when the time is up."""
    deadline = asyncio.get_running_loop().time() + enquiry.timeout_s
    while True:
        documents, trouble = await _search(http, enquiry, sent)
        if check.all_seen(sent, documents):
            return documents
        if asyncio.get_running_loop().time() >= deadline:
            if trouble:
                raise UsageError(f"--es {enquiry.store}: {trouble}")
            return documents
        await asyncio.sleep(POLL_S)


async def _search(
    http: httpx.AsyncClient, enquiry: Enquiry, sent: Sequence[check.Sent]
) -> tuple[tuple[Mapping[str, Any], ...], str | None]:
    """Envelopes, and why there may be more. Raises UsageError where asking again cannot help."""
    url = f"{enquiry.store.rstrip('/')}/{enquiry.index}/_search?ignore_unavailable=true&allow_no_indices=true"
    try:
        answer = await http.post(url, json=check.query(sent))
    except httpx.TransportError as error:
        return (), str(error) or type(error).__name__
    except httpx.InvalidURL as error:
        raise UsageError(f"--es {enquiry.store}: {error}") from error
    if answer.status_code in PATIENCE:
        return (), f"HTTP status {answer.status_code}"
    if answer.status_code != 200:
        hint = f"set {API_KEY_ENV}, or {USER_ENV} and {PASSWORD_ENV}" if answer.status_code in (401, 403) else None
        raise UsageError(f"--es {enquiry.store}: HTTP status {answer.status_code}: {answer.text[:300]}", hint=hint)
    try:
        return tuple(hit["_source"] for hit in answer.json()["hits"]["hits"]), None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--es {enquiry.store}: this is no answer of a search: {answer.text[:100]!r}",
            hint="is that the URL of the store itself?",
        ) from error


def _credentials() -> dict[str, str]:
    key, user, password = (os.environ.get(name) for name in (API_KEY_ENV, USER_ENV, PASSWORD_ENV))
    if key and user:
        raise UsageError(f"{API_KEY_ENV} and {USER_ENV} are both set", hint="unset one of them")
    if key:
        return {"authorization": f"ApiKey {key}"}
    if bool(user) is not bool(password):
        raise UsageError(f"{USER_ENV} and {PASSWORD_ENV} belong together, and only one is set")
    return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()} if user else {}


def _trust() -> ssl.SSLContext | bool:
    path = os.environ.get(CA_ENV)
    if not path:
        return True
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{CA_ENV}: {path} is no certificate that can be read: {error.strerror or error}") from error
