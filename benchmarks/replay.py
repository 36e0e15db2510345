"""Documents per second of `replay` beside `elasticsearch.helpers.streaming_bulk`, on one store, in one run.

    make benchmark-replay                       # fetches the store and the baseline, then runs this
    python benchmarks/replay.py [LINES] [ROUNDS]

Both read the same ledger, make the same documents and create them under the same identities in an index of their own,
in turn. The baseline sends 1000 documents a request, as `replay` does, keeps no checkpoint and proves nothing. The
memory is the peak of a process that does nothing but replay.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "real"))

from store_parts import running, write_ledger  # noqa: E402  # the path comes first

from weeyuga_core.ledger.reader import iter_lines
from weeyuga_core.model.tags import METADATA
from weeyuga_core.sinks.elasticsearch import templates
from weeyuga_core.sinks.elasticsearch.catchup import catch_up
from weeyuga_core.sinks.elasticsearch.document import Documents
from weeyuga_core.sinks.elasticsearch.settings import Settings
from weeyuga_core.sinks.replay import ReplayOptions

STORE = "elasticsearch-8.19"
BATCH = 1000
MIB = 1 << 20


def ours(ledger: Path, url: str, prefix: str) -> tuple[int, float]:
    """Replay in a process of its own; its peak memory in bytes, and seconds."""
    argv = [sys.executable, __file__, "--child", str(ledger), url, prefix]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return told["peak_bytes"], told["seconds"]


def child(ledger: Path, url: str, prefix: str) -> None:
    """Replay, and tell how long it took and how much memory."""
    settings = Settings(url=url, prefix=prefix)
    with tempfile.TemporaryDirectory() as side_dir:
        begin = time.perf_counter()
        report = asyncio.run(catch_up(ledger, Path(side_dir), settings, ReplayOptions(), lambda words: None))
        seconds = time.perf_counter() - begin
    assert report.level
    assert report.created == report.lines
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "peak_bytes": peak}))


def baseline(ledger: Path, url: str, prefix: str) -> float:
    """The same lines with the official client's helper; seconds."""
    from elasticsearch import Elasticsearch
    from elasticsearch.helpers import streaming_bulk

    def actions() -> Iterator[dict[str, Any]]:
        documents = Documents(prefix=prefix, tags_under=METADATA)
        for line in iter_lines(ledger):
            documents.learn(line)
            action = {"_op_type": "create", "_index": documents.index(line), "_id": documents.identity(line)}
            yield action | {"_source": documents.document(line)}

    with Elasticsearch(url, request_timeout=60) as client:
        begin = time.perf_counter()
        for ok, told in streaming_bulk(client, actions(), chunk_size=BATCH):
            assert ok, told
        return time.perf_counter() - begin


def main(lines: int, rounds: int) -> None:
    """Take turns, and say how both did."""
    with tempfile.TemporaryDirectory() as folder, running(STORE, Path(folder)) as node:
        ledger = Path(folder) / "run.jsonl"
        lines = write_ledger(ledger, lines - 3)
        component = templates.component_template(opensearch=False)
        node.ask("PUT", f"/_component_template/{templates.MAPPINGS}", json=component)
        node.ask("PUT", "/_index_template/bench", json=templates.index_template("bench"))
        baseline(_first_lines(ledger, Path(folder) / "warm.jsonl"), node.url, "bench-warm")
        theirs_s, ours_s, peaks = [], [], []
        for number in range(rounds):
            theirs_s.append(baseline(ledger, node.url, f"bench-theirs-{number}"))
            peak, seconds = ours(ledger, node.url, f"bench-ours-{number}")
            ours_s.append(seconds)
            peaks.append(peak)
    for name, seconds in (("streaming_bulk", theirs_s), ("replay", ours_s)):
        rates = ", ".join(f"{lines / one:.0f}" for one in seconds)
        print(f"{name:16} median {lines / statistics.median(seconds):8.0f} documents/s  (rounds: {rates})")
    ratio = statistics.median(theirs_s) / statistics.median(ours_s)
    print(f"replay is {ratio:.2f} x as fast; peak memory {max(peaks) / MIB:.0f} MiB; {lines} lines, {STORE}")


def _first_lines(ledger: Path, path: Path) -> Path:
    """A small ledger that warms the store up."""
    with ledger.open("rb") as source, path.open("wb") as target:
        for _ in range(5000):
            target.write(source.readline())
    return path


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), *sys.argv[3:])
    else:
        given = [int(text) for text in sys.argv[1:]]
        main(*given, *(100_000, 3)[len(given) :])
