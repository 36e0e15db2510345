"""The engine `echo`, whole: a plugin that registers it, an adapter that speaks to it, and the engine itself.

`POST /echo {"prompt", "max_tokens"}` answers in JSON lines: `{"word": "..."}` for each word of the prompt, then
`{"end": "stop", "prompt_tokens": 3, "completion_tokens": 3}`. Its model file holds the pause after each word, in ms.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weeyuga_core.enquiry import HEALTH_S, Enquiry, NoAnswer
from weeyuga_core.hookspecs import Provided, hookimpl
from weeyuga_core.interfaces import (
    Answer,
    Call,
    ColdClaim,
    ColdProof,
    Done,
    Finish,
    Health,
    LaunchSpec,
    Reply,
    StreamError,
    StreamEvent,
    Target,
    Usage,
)
from weeyuga_core.loose_json import excerpt, message_of, parsed, text
from weeyuga_core.measure.wire import ndjson_lines
from weeyuga_core.model.plan import Cell

if TYPE_CHECKING:
    import httpx  # slow to import, and this module is loaded by every command: imported where it is used

# --- the plugin ------------------------------------------------------------------------------------------------------


@hookimpl
def weeyuga_engine_adapters() -> list[Provided]:
    """Offer the engine: cells called `node:echo:label` are measured through the class below."""
    return [Provided("echo", "answers with the words of the prompt", "weeyuga_engine_echo:EchoAdapter")]


# --- the adapter -----------------------------------------------------------------------------------------------------


class EchoAdapter:
    """Speaks to one echo server; never subclasses anything, only has the methods of `EngineAdapter` and `Launches`."""

    def __init__(self, target: Target, http: httpx.AsyncClient) -> None:
        self.target = target
        self.server = Enquiry(target.base_url, http, target.token)

    def launch(self, cell: Cell, port: int) -> LaunchSpec:
        """How the core starts a server of ours, for a cell with `launch:`."""
        assert cell.launch is not None
        argv = (sys.executable, "-m", "weeyuga_engine_echo", "--port", str(port), "--model", cell.launch.model)
        return LaunchSpec(argv=argv, files=(cell.launch.model,))

    async def health(self) -> Health:
        """Whether the server answers."""
        try:
            answer = await self.server.ask("/", within_s=HEALTH_S)
        except NoAnswer as error:
            return Health("down", str(error))
        return Health("ready") if answer.status == 200 else Health("down", f"HTTP status {answer.status}")

    async def engine_version(self) -> str | None:
        """The server's word."""
        return text((await self.server.told("/")).get("version")) or None

    async def model_digest(self) -> str | None:
        """The server cannot tell; for a launched cell the core reads the file."""
        return None

    async def make_cold(self) -> ColdClaim:
        """Nothing is loaded, so nothing can be unloaded."""
        return ColdClaim("process_warm", "an echo keeps nothing")

    def build(self, call: Call) -> httpx.Request:
        """The request of one call. The transport sends it; nothing is sent here."""
        import httpx

        body = {"prompt": call.prompt.text, "max_tokens": call.prompt.max_tokens}
        return httpx.Request("POST", f"{self.target.base_url}/echo", json=body, headers={"accept-encoding": "identity"})

    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        """What the bytes say. Every line yields an event with the stamp of the read that completed it."""
        if reply.status is None:
            return  # no answer came; the core knows why
        if reply.status != 200:
            yield StreamError(reply.last_ns, f"http_{reply.status}", message_of(reply.body))
            return
        for line in ndjson_lines(reply.reads):
            match parsed(line.text):
                case {"word": str(word)} if word:
                    yield Answer(line.ns, word)
                case {"end": str(reason), "prompt_tokens": int(asked), "completion_tokens": int(said)}:
                    yield Usage(ns=line.ns, prompt_tokens=asked, completion_tokens=said)
                    yield Finish(line.ns, reason)
                    yield Done(line.ns)
                case _:
                    yield StreamError(line.ns, "bad_stream", f"not a line of an echo: {excerpt(line.text)}")

    def prove_cold(self, claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
        """An echo's answer tells nothing about its past."""
        return ColdProof(None, "an echo does not say")


# --- the engine ------------------------------------------------------------------------------------------------------


class EchoHandler(BaseHTTPRequestHandler):
    """Says the prompt back, one word a write."""

    pause_s = 0.0

    def do_GET(self) -> None:
        """Who I am."""
        self._head()
        self._say({"version": "1.0"})

    def do_POST(self) -> None:
        """Answer with the words of the prompt, as many as the budget allows."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        words = re.findall(r"\S+\s*", asked["prompt"])
        said = words[: asked["max_tokens"]]
        self._head()
        for word in said:
            self._say({"word": word})
            time.sleep(self.pause_s)
        end = "stop" if said == words else "length"
        self._say({"end": end, "prompt_tokens": len(words), "completion_tokens": len(said)})

    def _head(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.end_headers()

    def _say(self, line: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(line).encode() + b"\n")


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="weeyuga_engine_echo")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True)
    given = parser.parse_args()
    EchoHandler.pause_s = float(given.model.read_text()) / 1000
    ThreadingHTTPServer(("127.0.0.1", given.port), EchoHandler).serve_forever()


if __name__ == "__main__":
    main()
