"""Copies of the ledger's lines in Elasticsearch or OpenSearch, each line exactly once.

The ledger is the queue. A line's identity is its run and its number, its index is named from its own time, and it is
only ever created: so any line may be sent again after any failure, and is there once. Nothing is sent during a
measured call.
"""
