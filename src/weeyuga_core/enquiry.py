"""Questions to a server that are not measured: asked within a time, over an ordinary client.

An engine plugin asks this way whether its server is ready, what it serves and what it holds. Measured calls go another
way: the adapter builds them, the core sends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from weeyuga_core.loose_json import mapping, message_of, parsed

if TYPE_CHECKING:
    import httpx

HEALTH_S = 1.0
"""What the core gives an adapter to say whether its server is ready."""
ANSWER_S = 10.0
"""How long any other answer may take, unless the question says otherwise."""


class NoAnswer(Exception):
    """The server could not be asked; the message says why, in words for the operator."""


@frozen(kw_only=True)
class Answered:
    """What came back, whatever its status."""

    status: int
    body: Mapping[str, Any]
    """The JSON object, empty where none came."""
    words: str
    """The server's own words of refusal; empty for a status of 200."""
    headers: Mapping[str, str]
    """By name, in lower case or any other."""


@frozen
class Enquiry:
    """A server, asked through an ordinary client. A plugin may subclass it with the questions of its own engine."""

    base_url: str
    """Without a slash at its end."""
    http: httpx.AsyncClient
    token: str | None = field(default=None, repr=False)
    """Sent as a bearer token where there is one."""

    async def ask(
        self,
        path: str,
        *,
        within_s: float = ANSWER_S,
        json: Any = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """Ask with GET, or POST where there is `json`, unless `method` says otherwise.

        Raises NoAnswer when the whole answer has not come within `within_s`, or cannot come. A refusal is an answer.
        """
        # Slow to import, and a plugin's module, which may import this one, is loaded by every command.
        import asyncio

        import httpx

        # A connection of its own: one that was kept may have been closed meanwhile, which would look like a failure.
        ours = {"connection": "close"} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        verb = method or ("GET" if json is None else "POST")
        try:
            async with asyncio.timeout(within_s):
                answer = await self.http.request(
                    verb, self.base_url + path, headers=ours | dict(headers or {}), json=json, timeout=within_s
                )
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NoAnswer(f"no answer within {within_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error
        return Answered(
            status=answer.status_code,
            body=mapping(parsed(answer.content)),
            words="" if answer.status_code == 200 else message_of(answer.content),
            headers=answer.headers,
        )

    async def told(self, path: str, *, within_s: float = ANSWER_S, json: Any = None) -> Mapping[str, Any]:
        """The JSON object that it answers with; empty where it refuses, says something else, or does not answer.

        For what a server may or may not tell. That it is down is for a health check to say.
        """
        try:
            answer = await self.ask(path, within_s=within_s, json=json)
        except NoAnswer:
            return {}
        return answer.body if answer.status == 200 else {}
