"""Every error the harness raises on purpose, and the exit code each one ends with.

A `BenchError` carries a message for a person: what is wrong, where, and what to type. It never reaches the
terminal as a traceback. Anything else that escapes is a defect of ours and exits with `ExitCode.INTERNAL`.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command. They are API: scripts may rely on them."""

    OK = 0
    REGRESSION = 1
    USAGE = 2
    INCOMPLETE = 3
    REFUSED = 4
    NOTHING_TO_DO = 5
    INTERNAL = 70
    LEDGER = 74
    INTERRUPTED = 130


PRECEDENCE = (
    ExitCode.INTERRUPTED,
    ExitCode.INTERNAL,
    ExitCode.LEDGER,
    ExitCode.REFUSED,
    ExitCode.USAGE,
    ExitCode.REGRESSION,
    ExitCode.INCOMPLETE,
    ExitCode.NOTHING_TO_DO,
    ExitCode.OK,
)
"""Which code wins when several apply, first to last."""


class BenchError(Exception):
    """Root of the tree: a message for a person and an exit code."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  = help: {self.hint}" if self.hint else self.message


class UsageError(BenchError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A file of the user's is unreadable or says something that cannot be meant."""


class PluginError(UsageError):
    """A plugin is missing, broken, clashing, or of the wrong shape."""


class GateRefused(BenchError):
    """A gate refused to start the run; the message names the figure and the flag that overrides it."""

    exit_code = ExitCode.REFUSED


class NothingToDo(BenchError):
    """There is no data to work on."""

    exit_code = ExitCode.NOTHING_TO_DO


class LedgerError(BenchError):
    """The ledger cannot be written: the run stops, because an unwritten number is not a number."""

    exit_code = ExitCode.LEDGER


class LedgerDamaged(UsageError):
    """A ledger holds something other than what a writer could have left behind."""


class LaunchError(BenchError):
    """A server of our own could not be started. The runner records it and goes on with the next cell."""

    exit_code = ExitCode.INCOMPLETE


class CallError(BenchError):
    """A measured call failed: becomes the `error` of its record, never stops the matrix.

    `kind` is a short stable word (`connect`, `idle_timeout`, `http_404`, ...).
    """

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
