"""A replay in a process of its own, to be killed: replay_child.py LEDGER URL BATCH. Says `begun` before it begins."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from weeyuga_core.sinks.elasticsearch import sender
from weeyuga_core.sinks.elasticsearch.catchup import catch_up
from weeyuga_core.sinks.elasticsearch.settings import Settings
from weeyuga_core.sinks.replay import ReplayOptions


def main(ledger: Path, url: str, batch: int) -> int:
    """Bring the store level, in small batches and with short pauses."""
    sender.BACKOFF_S = 0.02
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    work = catch_up(
        ledger, ledger.with_suffix(".d"), Settings(url=url), ReplayOptions(), lambda words: None, batch_items=batch
    )
    return asyncio.run(work).exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
