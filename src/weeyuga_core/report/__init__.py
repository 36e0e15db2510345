"""What a person reads: baselines as text. The same ledger gives the same bytes."""
