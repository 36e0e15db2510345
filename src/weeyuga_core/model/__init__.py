"""Values only: the plan of a run, the records of a ledger, and the tags of benchmark traffic."""
