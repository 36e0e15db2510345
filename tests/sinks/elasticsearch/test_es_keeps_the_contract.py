"""The Elasticsearch sink, held against the contract of all sinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from weeyuga_core.interfaces import ResultSink, SinkTarget
from weeyuga_core.sinks.elasticsearch.sink import ElasticsearchSink
from weeyuga_core.testing.sink_contract import ResultSinkContract


class TestElasticsearch(ResultSinkContract):
    @pytest.fixture(autouse=True)
    def with_store(self, store: Any) -> None:
        self.store = store

    def sink(self, target: SinkTarget) -> ResultSink:
        # A store of its own for each ledger of a test: their lines have the same identities.
        if not target.resumed:
            self.store.documents.clear()
        return ElasticsearchSink(target)

    def held(self, target: SinkTarget) -> Sequence[int] | None:
        return [int(id_.rpartition(":")[2]) for _, id_ in self.store.documents]
