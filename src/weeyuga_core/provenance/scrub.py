"""Take credentials and the layout of this machine out of error texts, before they reach the ledger.

Such texts come from engines, proxies and the system, and are published with the numbers. Network addresses stay in:
mapping them to node names is the work of packaging, which knows the names.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

_MASK = "***"
_VALUE = r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&'\"<>)}\]]+)"

_CREDENTIALS: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ of a URL; the length is bounded so that hostile text cannot make this slow.
    (re.compile(r"(?<=://)[^\s'\"<>]{0,500}@"), f"{_MASK}@"),
    (
        re.compile(
            rf"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*)(?:[\"'])?(?:(?:bearer|basic)\s+)?{_VALUE}[\"']?"
        ),
        rf"\1{_MASK}",
    ),
    # Words that follow "bearer" in a sentence are no tokens.
    (
        re.compile(
            r"(?i)\b(bearer)\s+(?!(?:token|auth\w*|scheme|error|realm|credentials?|header|is|was|not)\b)[\w.~+/=-]+"
        ),
        rf"\1 {_MASK}",
    ),
    # After "basic" only what cannot be an English word: it has a digit, a sign, or a capital inside.
    (re.compile(r"\b([Bb]asic)\s+(?=\w[a-z]*[A-Z0-9+/=])[A-Za-z0-9+/=]{4,}"), rf"\1 {_MASK}"),
    (
        re.compile(
            r"(?i)\b((?:x-)?(?:api[-_]?key|access[-_]?key|client[-_]?secret|secret|password|passwd"
            rf"|(?:access|refresh|auth|bearer|id|session|api)[-_]?token)[\"']?\s*[:=]\s*){_VALUE}"
        ),
        rf"\1{_MASK}",
    ),
    (re.compile(rf"(?i)\b(token|key|sig|signature)={_VALUE}"), rf"\1={_MASK}"),
    (re.compile(r"\b(?:sk|pk|hf|ghp|gho|ghs|glpat|xox[abprs])[-_][A-Za-z0-9_-]{12,}"), _MASK),
)

_SEP = r"(?:[\\/]{1,4}|%2[Ff]|%5[Cc])"  # bounded, so that a long run of slashes costs no more than other text
_PART = r"(?:(?!%2[Ff]|%5[Cc])[^\s/\\'\"`,;:()<>\[\]{}|])+"
_ROUTE = r"(?:v\d+|api)(?![^\s/?])"
"""First part of an HTTP route of an engine: `/v1/...` in a message is no file."""

_DRIVE = r"\b[A-Za-z]:\\{1,4}"
_START = rf"(?:file:[\\/]{{1,4}}|~[\w.-]*{_SEP}|{_DRIVE})"
_HOMES = rf"(?:{_SEP}(?:home|Users)|{_DRIVE}Users){_SEP}"
_SOMEONES_HOME = re.compile(rf"{_HOMES}{_PART}")
_ONLY_A_HOME = re.compile(rf"(?:file:)?{_HOMES}[^/\\%]+[/\\]*")
_QUOTED = re.compile(rf"(['\"`])((?:{_START}|[\\]{{0,2}}/(?!{_ROUTE}))[^'\"`\n]*?)(\\?)\1")
_BARE = re.compile(
    rf"(?:{_START}(?:{_PART})?|(?<![\w./%\\~*\]-])(?!//)(?:\\{{0,2}}/|%2[Ff])(?!{_ROUTE}){_PART}{_SEP}{_PART})(?:{_SEP}{_PART})*/*"
)


def scrub(text: str, *, home: str | None = None) -> str:
    """The text with credentials masked and absolute paths reduced to their last part.

    `home` is the home directory to look for besides the usual shapes (default: the user's own); a home directory
    itself becomes `~`. Paths of one part (`/health`) and HTTP routes stay.
    """
    for pattern, replacement in _CREDENTIALS:
        text = pattern.sub(replacement, text)
    text = _without_home(text, home if home is not None else _own_home())
    text = _QUOTED.sub(lambda match: f"{match[1]}{_last_part(match[2])}{match[3]}{match[1]}", text)
    text = _SOMEONES_HOME.sub("~", text)
    return _BARE.sub(lambda match: _last_part(match[0]), text)


def _own_home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # no such user, as in some containers
        return ""


def _without_home(text: str, home: str) -> str:
    """Replace the home directory however it is escaped. It may hold spaces, so it goes before anything is split."""
    home = home.rstrip("/\\")
    for spelling in {home, home.replace("/", "\\/"), home.replace("\\", "\\\\"), quote(home, safe="")}:
        if len(spelling) > 1:
            text = re.sub(rf"{re.escape(spelling)}(?![\w-])", "~", text)
    return text


def _last_part(path: str) -> str:
    """The last part of a path in any spelling; `~` for a home directory itself."""
    if _ONLY_A_HOME.fullmatch(path):
        return "~"
    parts = [part for part in re.split(_SEP, path) if part]
    return parts[-1] if parts else path
