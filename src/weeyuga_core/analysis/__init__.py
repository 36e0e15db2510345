"""What follows from the records of a ledger: statistics, baselines, verdicts. Pure: no files, no clock."""
