"""Where the store is and how to be let in: from --sink es=URL and the environment."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import httpx
from attrs import field, frozen

from weeyuga_core.errors import UsageError
from weeyuga_core.model.tags import LABELS, METADATA

URL_ENV = "WEEYUGA_ES_URL"
API_KEY_ENV = "WEEYUGA_ES_API_KEY"
USER_ENV = "WEEYUGA_ES_USER"
PASSWORD_ENV = "WEEYUGA_ES_PASSWORD"
CA_ENV = "WEEYUGA_ES_CA"
PREFIX_ENV = "WEEYUGA_ES_INDEX"

TELEMETRY = "weeyuga-telemetry"
LOGS = "weeyuga-logs"

CONNECT_S = 5.0
REQUEST_S = 60.0
"""Longest wait for one answer of a store that is busy."""

_PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]*")
_HINT_CREDENTIALS = f"set {API_KEY_ENV}, or {USER_ENV} and {PASSWORD_ENV}"


@frozen(kw_only=True)
class Settings:
    """A store, and the indices there that are ours."""

    url: str
    """Without credentials, query and trailing slash."""
    prefix: str = TELEMETRY
    """What the names of the daily indices begin with."""
    authorization: str | None = field(default=None, repr=False)
    ca: Path | None = None

    @property
    def tags_under(self) -> str:
        """The object that holds the tags in those indices."""
        return tags_under(self.prefix)

    @property
    def key(self) -> str:
        """A short name for this target in file names, which says nothing about where it is."""
        return hashlib.sha256(f"{self.url}|{self.prefix}".encode()).hexdigest()[:8]

    def client(self) -> httpx.AsyncClient:
        """A client that knows the store. Raises UsageError when the CA's file is unusable."""
        headers = {"authorization": self.authorization} if self.authorization else {}
        # Proxies and .netrc of the environment would see what is meant for the store alone.
        return httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            verify=_trust(self.ca),
            timeout=httpx.Timeout(REQUEST_S, connect=CONNECT_S),
            trust_env=False,
        )


def from_env(target: str | None, env: Mapping[str, str] = os.environ, *, option: str = "--sink es=URL") -> Settings:
    """The settings for a URL, or for that of the environment. Raises UsageError; no message repeats a credential.

    `option` is how the operator gives the URL, for messages.
    """
    return Settings(
        url=_url(target, env, option),
        prefix=prefix_from_env(env),
        authorization=_authorization(env),
        ca=Path(env[CA_ENV]) if env.get(CA_ENV) else None,
    )


def tags_under(prefix: str) -> str:
    """The object that holds the tags: `labels` in logs indices, else `metadata`."""
    return LABELS if prefix == LOGS or prefix.startswith(f"{LOGS}-") else METADATA


def _url(target: str | None, env: Mapping[str, str], option: str) -> str:
    given, source = (target, option) if target else (env.get(URL_ENV), URL_ENV)
    if not given:
        raise UsageError("no store is named", hint=f"type {option}, or set {URL_ENV}")
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL:
        raise UsageError(f"{source}: this is not a URL", hint="for example http://127.0.0.1:9200") from None
    if url.userinfo or "@" in given:
        raise UsageError(f"{source}: a URL is no place for credentials", hint=_HINT_CREDENTIALS)
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"{source}: expected http:// or https:// and a host", hint="for example http://127.0.0.1:9200")
    if url.query or url.fragment:
        raise UsageError(f"{source}: the URL of a store has no query and no fragment")
    return str(url).rstrip("/")


def prefix_from_env(env: Mapping[str, str] = os.environ) -> str:
    """What the names of the indices begin with. Raises UsageError."""
    text = env.get(PREFIX_ENV) or TELEMETRY
    if not _PREFIX.fullmatch(text):
        raise UsageError(
            f"{PREFIX_ENV}: {text!r} cannot begin the name of an index",
            hint="lower-case letters, digits, '.', '_' and '-', beginning with a letter or a digit",
        )
    return text


def _authorization(env: Mapping[str, str]) -> str | None:
    api_key, user, password = (env.get(name) for name in (API_KEY_ENV, USER_ENV, PASSWORD_ENV))
    if api_key and (user or password):
        raise UsageError(f"{API_KEY_ENV} and {USER_ENV} are both set", hint="unset one of them")
    if bool(user) is not bool(password):
        raise UsageError(f"{USER_ENV} and {PASSWORD_ENV} belong together, and only one is set")
    if api_key:
        authorization = f"ApiKey {api_key}"
    elif user and password:
        authorization = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    else:
        return None
    if not authorization.isascii() or not authorization.isprintable():
        raise UsageError(f"{API_KEY_ENV} holds what no header can: is there a line break in it?")
    return authorization


def _trust(ca: Path | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{CA_ENV}: {ca} is no certificate that can be read: {error.strerror or error}") from error
