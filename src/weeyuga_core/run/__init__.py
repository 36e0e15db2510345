"""From a plan to a ledger: schedules (pure), sessions with engines, and the runner that executes the steps."""
