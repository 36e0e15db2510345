"""The ledger: one file a run, one line a record, written before anything else may know of it."""
