"""Append records of 0.2 to 20 kB to a ledger for ever, and print the seq of each once it is durable."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import Any

import attrs

from weeyuga_core.errors import BenchError
from weeyuga_core.ledger.writer import LedgerWriter
from weeyuga_core.model.records import CallRecord, MetaRecord

SIZES = (0, 200, 20_000, 2_000)


def main(path: Path) -> None:
    meta = MetaRecord(
        benchmark_run_id="run-1",
        git_sha=None,
        git_dirty=None,
        harness_version="1",
        started_at_utc="2026-04-29T02:00:00.000Z",
        host="bench",
        load_avg_start=(0.0, 0.0, 0.0),
        env_route=None,
        env_llamacpp_url=None,
        cells_planned=(),
    )
    blank: dict[str, Any] = {field.name: None for field in attrs.fields(CallRecord) if field.default is attrs.NOTHING}
    call = CallRecord(**{**blank, "cell_id": "a:b:c", "phase": "warm", "run_idx": 0})
    with LedgerWriter.create(path) as writer:
        sys.stdout.write(f"{writer.append(meta).seq}\n")
        sys.stdout.flush()
        for number in count():
            line = writer.append(attrs.evolve(call, run_idx=number, error="x" * SIZES[number % len(SIZES)]))
            sys.stdout.write(f"{line.seq}\n")
            sys.stdout.flush()


try:
    main(Path(sys.argv[1]))
except BenchError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(error.exit_code)
