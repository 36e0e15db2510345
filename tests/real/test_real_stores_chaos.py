"""Whatever dies while a ledger is sent: what is in the store and what is dead are the ledger's lines, each once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conditions import wait_until
from store_parts import FaultProxy, StoreNode, write_ledger

from weeyuga_core.sinks.elasticsearch import checkpoint as checkpoints
from weeyuga_core.sinks.elasticsearch import sender
from weeyuga_core.sinks.elasticsearch.catchup import catch_up
from weeyuga_core.sinks.elasticsearch.settings import Settings
from weeyuga_core.sinks.replay import ReplayOptions, ReplayReport

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

CHILD = Path(__file__).with_name("replay_child.py")
PATTERN = "weeyuga-telemetry-*"
KILLS = 50
WAIT_S = 120.0


def child(ledger: Path, url: str, batch: int) -> subprocess.Popen[str]:
    """A replay in a process of its own that has begun."""
    argv = [sys.executable, str(CHILD), str(ledger), url, str(batch)]
    started = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "begun\n"
    return started


def prove(ledger: Path, url: str) -> ReplayReport:
    """Bring the store level and look every line up."""
    options = ReplayOptions(verify=True)
    return asyncio.run(catch_up(ledger, ledger.with_suffix(".d"), Settings(url=url), options, lambda words: None))


def acknowledged(ledger: Path) -> int:
    """Lines that the checkpoint vouches for, whatever the target."""
    found = [checkpoints.read(path) for path in ledger.with_suffix(".d").glob("acks-*.json")]
    return max((one.lines for one in found if one), default=0)


def test_a_store_that_is_killed_and_comes_back_gets_every_line_once(store: StoreNode, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    lines = write_ledger(ledger, 6000)
    replay = child(ledger, store.url, 20)
    wait_until(lambda: acknowledged(ledger) > lines // 4, "the first quarter")
    store.kill()
    assert replay.poll() is None, "the replay waits for the store"
    before = acknowledged(ledger)
    store.start()
    out, err = replay.communicate(timeout=WAIT_S)
    assert (replay.returncode, out, err) == (0, "", "")
    assert before < lines
    report = prove(ledger, store.url)
    assert (report.stored, report.dead, report.missing, report.level) == (lines, 0, 0, True)
    assert store.count(PATTERN) == lines


def test_storms_and_cut_answers_lose_nothing_and_double_nothing(
    store: StoreNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BACKOFF_S", 0.02)
    ledger = tmp_path / "run.jsonl"
    lines = write_ledger(ledger, 2000, refused_every=100)
    with FaultProxy(store.url, faults=60) as proxy:
        options = ReplayOptions(verify=True)
        report = asyncio.run(
            catch_up(
                ledger, ledger.with_suffix(".d"), Settings(url=proxy.url), options, lambda words: None, batch_items=20
            )
        )
        assert {"429", "503", "unanswered", "cut"} <= proxy.counts.keys()
    assert (report.stored, report.dead, report.missing, report.level) == (lines - 20, 20, 0, True)
    assert report.duplicate > 0, "answers were cut after the store had taken the lines"
    assert store.count(PATTERN) == lines - 20


def test_a_harness_killed_fifty_times_gets_every_line_there_once(store: StoreNode, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    lines = write_ledger(ledger, 8000, refused_every=400)
    rng = random.Random(11)
    before = 0
    with FaultProxy(store.url, faults=20) as proxy:
        for kill in range(KILLS):
            if kill == KILLS // 2:
                (acks,) = ledger.with_suffix(".d").glob("acks-*.json")
                acks.write_bytes(acks.read_bytes()[:50])
                before = 0
            replay = child(ledger, proxy.url, 5)
            # When it dies is left to chance on purpose: in a request, in a file, between the two.
            time.sleep(rng.uniform(0.0, 0.3))
            replay.kill()
            replay.communicate()
            assert replay.returncode == -signal.SIGKILL, "a replay that is through was not killed"
            now = acknowledged(ledger)
            assert now >= before, "the checkpoint moved back"
            before = now
        report = prove(ledger, proxy.url)
    assert (report.stored, report.dead, report.missing, report.level) == (lines - 20, 20, 0, True)
    assert store.count(PATTERN) == lines - 20
    assert report.dead_file is not None
    letters = [json.loads(line)["id"] for line in Path(report.dead_file).read_bytes().splitlines()]
    assert len(letters) == len(set(letters)) == 20
