"""What a command says: data on stdout, everything else on stderr. No colours, so `NO_COLOR` has nothing to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence


def emit_json(
    schema: str, data: object, *, ok: bool = True, verdict: str | None = None, warnings: Sequence[str] = ()
) -> None:
    """Print the one JSON object of a command's `--json`: schema, ok, verdict, data, warnings.

    `schema` names the shape of `data`, such as `weeyuga.plugins.v1`. Raises ValueError for NaN and infinities, which
    JSON does not have.
    """
    answer = {"schema": schema, "ok": ok, "verdict": verdict, "data": data, "warnings": list(warnings)}
    print(json.dumps(answer, indent=2, allow_nan=False))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out in aligned columns under their headers; None is a dash, columns of numbers stand to the right.

    Raises ValueError for a row whose length is not that of the headers.
    """
    body = [list(row) for row in rows]
    lines = [list(headers), *([_cell(value) for value in row] for row in body)]
    columns = list(zip(*lines, strict=True))
    widths = [max(len(text) for text in column) for column in columns]
    numeric = [bool(body) and all(_is_number(row[i]) for row in body) for i in range(len(headers))]
    return "\n".join(_line(texts, widths, numeric) for texts in lines)


def say(text: str) -> None:
    """Tell the person at the terminal something that is not data."""
    print(text, file=sys.stderr, flush=True)


def _cell(value: object) -> str:
    return "-" if value is None else str(value).replace("\n", " ")


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _line(texts: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    cells = (
        text.rjust(width) if right else text.ljust(width)
        for text, width, right in zip(texts, widths, numeric, strict=True)
    )
    return "  ".join(cells).rstrip()
