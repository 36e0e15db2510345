"""Routed calls with real parts in the way: nginx, the reference brain, an engine, a store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import golden_runs
import pytest
from conditions import wait_until
from golden_runs import PROMPT
from lockstep import lockstep_engine
from ollama_parts import PLAIN
from programs import NGINX, nginx
from reference_brains import reference_brain
from store_parts import StoreNode

from weeyuga_core.analysis.pairs import Overhead, overheads
from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode
from weeyuga_core.ledger import reader
from weeyuga_core.model.plan import RunPlan
from weeyuga_core.model.tags import HEADER_OF_TAG
from weeyuga_core.run import schedule
from weeyuga_core.testing.golden_process import GoldenServer

pytestmark = pytest.mark.real

PATTERN = "weeyuga-telemetry-*"
ENVELOPES = "event.dataset:weeyuga.brain.dispatch"

# In HTTP/1.0, nginx's default towards an upstream, an answer has no chunks, and nginx collects what comes. Whole chunks
# it passes on at once, whatever `proxy_buffering` says.
DIRECTIVES = """
    location /held/ {{ proxy_pass {upstream}/; }}
    location / {{ proxy_pass {upstream}; proxy_http_version 1.1; proxy_buffering off; }}
"""


def in_front_of(upstream: str, folder: Path) -> AbstractContextManager[str]:
    """Base URL of an nginx in front of `upstream`."""
    return nginx(folder / "nginx", DIRECTIVES.format(upstream=upstream))


@pytest.fixture(autouse=True)
def _nginx_is_there(require) -> None:
    require(NGINX is not None, "nginx is not there: apt-get install nginx-light")


# --- buffering ----------------------------------------------------------------------------------------------------


def three_pairs(engine: str, routed_url: str, folder: Path) -> tuple[Overhead, dict[str, int]]:
    """Three pairs of answers of half a second: their overhead, and how many calls of each cell were held back."""
    slow = {"chunks": 40, "interval_us": 15_000, "first_delay_us": 30_000}
    direct = golden_runs.cell(engine, name="direct", options=slow)
    routed = golden_runs.cell(routed_url, name="routed", engine="brain-routed", routes=direct.id, options=slow)
    steps = schedule.paired([direct, routed], [PROMPT], pairs=3)
    plan = RunPlan(
        cells=(direct, routed),
        prompts=(PROMPT,),
        steps=steps,
        pace_s=0.0,
        brain_hosts=("127.0.0.1",),
        routed_to=(direct,),
    )
    _, ledger = asyncio.run(golden_runs.run(folder, plan))
    assert [call.error for call in ledger.calls] == [None] * 6
    (found,) = overheads(ledger.cells, ledger.calls)
    held = [call.cell_id for call in ledger.calls if any(flag.startswith("buffered:") for flag in call.call_flags)]
    return found, {name: held.count(f"here:{name}") for name in ("golden:direct", "brain-routed:routed")}


@pytest.fixture(scope="module")
def golden() -> Iterator[str]:
    with GoldenServer() as server:
        yield server.url


def test_a_proxy_that_holds_back_shows_as_buffered(golden: str, tmp_path: Path) -> None:
    with reference_brain(golden, tmp_path) as brain, in_front_of(brain, tmp_path) as proxy:
        found, held = three_pairs(golden, f"{proxy}/held", tmp_path / "held")
    assert held["brain-routed:routed"] == 3
    # A direct call looks like that too when this machine stops its client for most of the answer.
    assert found.buffered == 3 - held["golden:direct"]


def test_a_proxy_that_does_not_hold_back_does_not_show_as_buffered(tmp_path: Path) -> None:
    with (
        lockstep_engine() as engine,
        reference_brain(engine, tmp_path) as brain,
        in_front_of(brain, tmp_path) as proxy,
    ):
        found, held = three_pairs(engine, proxy, tmp_path / "passed")
    assert (found.compared, found.buffered, sum(held.values())) == (3, 0, 0)


# --- with a store -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("templates", [True, False])
def test_brain_check_is_green_behind_nginx(golden: str, store: StoreNode, tmp_path: Path, capsys, templates) -> None:
    if templates:
        assert main(["es", "setup"]) == ExitCode.OK
    with reference_brain(golden, tmp_path, "--es", store.url) as brain, in_front_of(brain, tmp_path) as proxy:
        capsys.readouterr()
        code = main(["brain", "check", "--brain", proxy, "--json", "--timeout", "60"])
    told = json.loads(capsys.readouterr().out)
    assert code == ExitCode.OK, told
    assert {one["state"] for one in told["data"]["headers"]} == {"arrived"}
    assert {one["under"][0] for one in told["data"]["headers"]} == {
        *(f"metadata.{tag}" for tag in HEADER_OF_TAG),
        "trace.id",
    }


@pytest.mark.parametrize("header", ["X-Weeyuga-Test", "X-Weeyuga-Benchmark-Run-Id"])
def test_brain_check_is_red_behind_nginx_and_names_the_header(
    golden: str, store: StoreNode, tmp_path: Path, capsys, header: str
) -> None:
    options = ("--es", store.url, "--drop-header", header)
    with reference_brain(golden, tmp_path, *options) as brain, in_front_of(brain, tmp_path) as proxy:
        assert main(["brain", "check", "--brain", proxy, "--timeout", "60"]) == ExitCode.REGRESSION
    assert capsys.readouterr().err.rstrip().endswith(f"as they should: {header}")
    assert header in HEADER_OF_TAG.values()


CELLS = """\
defaults: {{timeouts: {{connect_s: 10, idle_s: 120, total_s: 280}}}}
cells:
  - {{id: "here:{engine}:{label}", endpoint: "{url}", options: {{temperature: 0, seed: 1}}}}
  - {{id: "here:brain-routed:{label}", endpoint: "{proxy}", routes: "here:{engine}:{label}"}}
brain: {{hosts: [127.0.0.1]}}
"""
PROMPTS = """\
P-SHORT:
  intent: little to wait for
  prompt: Name one colour. One word only.
  max_tokens: 16
"""
PAIRS = 6


def routed_run(engine: str, label: str, url: str, store: StoreNode, folder: Path, monkeypatch) -> None:
    """A paired run into the store: every line is there once, every envelope is tagged, the overhead has an interval."""
    monkeypatch.chdir(folder)
    (folder / "prompts.yaml").write_text(PROMPTS)
    assert main(["es", "setup"]) == ExitCode.OK
    named = reference_brain(url, folder, "--es", store.url, name=engine)
    with named as brain, in_front_of(brain, folder) as proxy:
        (folder / "cells.yaml").write_text(CELLS.format(engine=engine, label=label, url=url, proxy=proxy))
        options = ("--schedule", "paired", "--pairs", str(PAIRS), "--sink", "jsonl", "--sink", "es", "--force-load")
        assert main(["run", *options, "--prompts-yaml", "prompts.yaml", "--prompts", "P-SHORT"]) == ExitCode.OK
        # The router's envelopes: a priming call and the routed half of each pair.
        wait_until(lambda: store.count(PATTERN, f"{ENVELOPES} AND metadata.test:true") == PAIRS + 1, "the envelopes")
    (path,) = (folder / "runs").glob("*.jsonl")
    ledger = reader.read(path)
    assert [call.error for call in ledger.calls] == [None] * 2 * PAIRS
    assert {call.backend for call in ledger.calls} == {engine}
    assert {cell.model_digest for cell in ledger.cells} == {ledger.cells[0].model_digest}
    (found,) = overheads(ledger.cells, ledger.calls)
    assert found.compared == PAIRS
    assert found.first_delta.low_ms is not None
    assert main(["replay", str(path), "--sink", "es", "--verify"]) == ExitCode.OK, "every line by its _id"
    lines = path.read_bytes().count(b"\n")
    run_id = ledger.meta.benchmark_run_id
    assert store.count(PATTERN, f"{ENVELOPES} AND metadata.test:true") == PAIRS + 1
    assert store.count(PATTERN, f'metadata.test:true AND metadata.benchmark_run_id:"{run_id}"') == lines + PAIRS + 1
    assert store.count(PATTERN, "NOT metadata.test:true") == 0


def test_a_routed_run_on_llama_cpp_is_in_the_store(shared, store: StoreNode, tmp_path: Path, monkeypatch) -> None:
    routed_run("llamacpp", "smollm2", f"http://127.0.0.1:{shared.port}", store, tmp_path, monkeypatch)


def test_a_routed_run_on_ollama_is_in_the_store(ollama, store: StoreNode, tmp_path: Path, monkeypatch) -> None:
    routed_run("ollama", PLAIN, ollama.url, store, tmp_path, monkeypatch)
