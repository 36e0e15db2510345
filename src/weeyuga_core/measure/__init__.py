"""A request in, a Reply and a Timing out: clock, transport, wire formats and timing. Knows no files and no order."""
