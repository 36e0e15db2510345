"""A run on the real embedded engine with a real store as its sink: level, dead, and killed in the middle."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from store_parts import StoreNode

from weeyuga_core.ledger.reader import iter_lines, read
from weeyuga_core.sinks.elasticsearch.catchup import catch_up
from weeyuga_core.sinks.elasticsearch.settings import Settings
from weeyuga_core.sinks.replay import ReplayOptions

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PATTERN = "weeyuga-telemetry-*"


@pytest.fixture
def cells(embedded: None, model: Path, tmp_path: Path) -> Path:
    """Two cells, so that something is sent between them."""
    path = tmp_path / "cells.yaml"
    launch = f"{{server: xllamacpp, model: {json.dumps(str(model))}, ctx: 1024, threads: 2, parallel: 1}}"
    ids = ("local:llamacpp:one", "local:llamacpp:two")
    listed = "".join(f"  - {{id: {id_}, launch: {launch}, options: {{temperature: 0, seed: 1}}}}\n" for id_ in ids)
    path.write_text(f"defaults: {{warm_n: 2}}\ncells:\n{listed}")
    return path


def begin(cells: Path, *sinks: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "weeyuga_core", "run", "--cells-yaml", str(cells), "--prompts", "P-EASY"]
    argv += ["--out", str(cells.parent / "runs"), "--allow-dirty", "--force-load"]
    argv += [part for sink in sinks for part in ("--sink", sink)]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ledger_of(cells: Path) -> Path:
    (path,) = (cells.parent / "runs").glob("*.jsonl")
    return path


def test_every_line_of_a_run_is_in_the_store_when_it_ends(store: StoreNode, cells: Path) -> None:
    copy = cells.parent / "copy.jsonl"
    run = begin(cells, f"jsonl={copy}", f"es={store.url}")
    _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert "behind" not in err
    ledger = ledger_of(cells)
    assert copy.read_bytes() == ledger.read_bytes()
    run_id = ledger.stem
    lines = list(iter_lines(ledger))
    for line in lines:
        index = f"weeyuga-telemetry-{read(ledger).meta.started_at_utc[:10].replace('-', '.')}"
        assert store.get(f"/{index}/_doc/{run_id}:{line.seq}")["_source"]["event"]["sequence"] == line.seq
    assert store.count(PATTERN, "metadata.test:true") == len(lines) == store.count(PATTERN)


def test_a_store_that_dies_in_the_middle_costs_the_run_nothing_and_gets_the_lines_later(
    store: StoreNode, cells: Path
) -> None:
    said: list[str] = []
    killed = False
    with begin(cells, f"es={store.url}") as run:
        assert run.stderr is not None
        for line in run.stderr:
            said.append(line)
            if not killed and "warm" in line:
                killed = True
                store.kill()
    assert killed, "".join(said)
    assert run.returncode == 0, "".join(said)
    ledger = ledger_of(cells)
    assert read(ledger).complete
    assert any("of them are not in the store" in line and "weeyuga-bench replay" in line for line in said)
    store.start()
    settings, options = Settings(url=store.url), ReplayOptions(verify=True)
    report = asyncio.run(catch_up(ledger, ledger.with_suffix(".d"), settings, options, lambda words: None))
    assert (report.level, report.missing, report.stored) == (True, 0, report.lines)
