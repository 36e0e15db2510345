"""Copies of the results elsewhere. This module registers the sinks of the core, through the same hook as a stranger's.

The ledger is the queue: a sink that fails or is too slow changes nothing about the run, and can be fed again later.
"""

from __future__ import annotations

from collections.abc import Iterable

from weeyuga_core.hookspecs import Provided, hookimpl


@hookimpl
def weeyuga_result_sinks() -> Iterable[Provided]:
    """The sinks that come with the core."""
    return [
        Provided(
            "jsonl", "copies the ledger's lines to a file, or to stdout with jsonl=-", f"{__name__}.jsonl:JsonlSink"
        ),
        Provided(
            "markdown",
            "writes the baseline beside the ledger, to a file, or to stdout with markdown=-",
            f"{__name__}.markdown:MarkdownSink",
        ),
        Provided(
            "es",
            "sends the lines to Elasticsearch or OpenSearch: es=URL, or WEEYUGA_ES_URL",
            f"{__name__}.elasticsearch.sink:ElasticsearchSink",
        ),
    ]
