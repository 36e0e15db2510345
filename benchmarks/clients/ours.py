"""This harness: the real runner, writing real records into a real ledger."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from weeyuga_core.run.trial import Load, run_load
from weeyuga_core.testing.golden_script import GoldenScript

sys.path.insert(0, str(Path(__file__).parent))
from common import Report, Seen, Task, peak_rss_bytes, place


def main() -> None:
    """As `common.main`, but the CPU time is that of the measured calls, which the runner knows the limits of."""
    task = Task(**json.loads(sys.argv[1]))
    place(task.cpu, task.realtime)
    load = Load(streams=task.streams, calls=task.calls, script=GoldenScript.from_json(task.script))
    with tempfile.TemporaryDirectory() as folder:
        trial = asyncio.run(run_load(task.url, load, Path(folder), kernel_stamps=task.kernel_stamps))
    calls = [Seen(call.ident, call.start_ns, list(call.deltas), call.end_ns) for call in trial.calls]
    print(json.dumps(Report(calls, trial.cpu_ns, peak_rss_bytes())._asdict()))


if __name__ == "__main__":
    main()
