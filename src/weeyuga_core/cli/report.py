"""`weeyuga-bench report`: a ledger as the Markdown baseline, or as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from weeyuga_core.analysis.assess import assess
from weeyuga_core.analysis.baseline import to_json
from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, say
from weeyuga_core.errors import NothingToDo, UsageError
from weeyuga_core.ledger import reader
from weeyuga_core.report.markdown import render

RUNS = Path("runs")
SCHEMA = "weeyuga.report.v1"


@click.command()
@click.argument("ledger")
@click.option("--out", type=click.Path(path_type=Path), help="Write the Markdown to this file instead of stdout.")
@json_flag()
def report(ledger: str, out: Path | None, as_json: bool) -> None:
    """Turn a ledger into the Markdown baseline.

    LEDGER is a file, or the first letters of a run id whose ledger lies in ./runs.
    """
    path = find_ledger(ledger)
    found = reader.read(path)
    if found.torn is not None:
        torn = found.torn
        say(f"warning: {path}:{torn.line_no}: the last line broke off after {torn.bytes_len} bytes and is left out")
    if found.resumable:
        how = "died" if found.end is None else "was interrupted"
        say(f"note: this run {how}; to go on: the weeyuga-bench run that began it, with --resume {path}")
    if not found.calls:
        raise NothingToDo(f"{path}: no call is recorded in this ledger")
    baseline, judgement = assess(found)
    page = render(baseline, judgement).encode()
    if out is not None:
        _write(out, page, path)
    if as_json:
        told = {"reasons": list(judgement.reasons), "notes": list(judgement.notes), "resumable": found.resumable}
        emit_json(SCHEMA, to_json(baseline) | told, verdict=judgement.verdict, warnings=judgement.reasons)
    elif out is None:
        click.echo(page, nl=False)


def find_ledger(typed: str, runs: Path = RUNS) -> Path:
    """The ledger that the user means: a file, else the one run whose id starts so. Raises UsageError."""
    path = Path(typed)
    if path.is_file():
        return path
    starting = [one for one in sorted(runs.glob("*.jsonl")) if typed and one.name.startswith(typed)]
    if len(starting) == 1:
        return starting[0]
    if starting:
        listed = "".join(f"\n  {one.stem}" for one in starting)
        raise UsageError(f"{typed!r} is the start of {len(starting)} runs:{listed}", hint="type more of the run id")
    raise UsageError(
        f"no ledger {typed!r}: there is no such file, and no run in {runs}/ starts with it",
        hint="name the .jsonl file that `weeyuga-bench run` wrote",
    )


def _write(out: Path, page: bytes, ledger: Path) -> None:
    if out.exists() and out.samefile(ledger):
        raise UsageError(f"--out {out} is the ledger itself, which is never overwritten")
    try:
        out.write_bytes(page)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from error
    say(f"baseline written to {out}")
