"""What must be equal before two numbers may be compared, and one hash of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from weeyuga_core.model.records import HARNESS_VERSION

_PATH = re.compile(r"(?:~|\.{0,2}/)")


def fingerprint_parts(
    *,
    engine: str,
    engine_version: str | None,
    flags: Sequence[str],
    model_digest: str | None,
    request_model: str,
    context: int | None,
    template_sha256: str | None,
    options: Mapping[str, Any],
    prompt_cache: str,
    concurrency: int = 1,
    harness_version: str = HARNESS_VERSION,
) -> dict[str, Any]:
    """The parts of a cell's fingerprint, as recorded beside it; null where nobody could say.

    Two calls are comparable when their (fingerprint, prompt sha256, max_tokens) are equal. Prompt and budget are
    kept out: a cell has one fingerprint and answers several prompts, and a new prompt must not make the old ones
    incomparable. Node and host are out as well: the same thing on two machines is what one wants to compare.
    """
    return {
        "engine": engine,
        "engine_version": engine_version,
        "flags": list(flags),
        "model_digest": model_digest,
        "request_model": request_model,
        "context": context,
        "template_sha256": template_sha256,
        "options": _plain(options),
        "prompt_cache": prompt_cache,
        "concurrency": concurrency,
        "harness_version": harness_version,
    }


def fingerprint(parts: Mapping[str, Any]) -> str:
    """sha256, in hex, of the parts as canonical JSON: keys sorted, no spaces, ASCII. Raises ValueError on NaN."""
    canonical = json.dumps(_plain(parts), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def public_flags(argv: Sequence[str], *, port: int | None = None) -> tuple[str, ...]:
    """A command line without what differs from run to run or names this machine.

    Paths are reduced to their last part; the port that was picked for this run becomes `PORT`.
    """
    shown: list[str] = []
    for index, arg in enumerate(argv):
        name, equals, value = arg.partition("=") if arg.startswith("-") else ("", "", arg)
        if arg.startswith("-") and not equals:
            shown.append(arg)
            continue
        flag = name or (argv[index - 1] if index else "")
        shown.append(f"{name}{equals}{_public_value(value, flag, port)}")
    return tuple(shown)


def _public_value(value: str, flag: str, port: int | None) -> str:
    if port is not None and value == str(port) and flag.startswith("-") and "port" in flag.lower():
        return "PORT"
    if port is not None and value.endswith(f":{port}"):
        return f"{value.removesuffix(str(port))}PORT"
    return PurePosixPath(value).name or value if _PATH.match(value) else value


def _plain(value: Any) -> Any:
    """The value with plain containers, and whole floats as integers: `temperature: 0` and `0.0` ask for the same."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
