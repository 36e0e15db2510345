"""The few system calls a ledger is written with, gathered so that a test can make any one of them fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol

_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP}
"""What file systems answer that have no notion of syncing a directory (some network shares)."""


class LedgerIO(Protocol):
    """The seam. Every method raises OSError as the system call behind it does."""

    def open(self, path: Path, flags: int) -> int:
        """A file descriptor; a new file is readable by its group and others as the umask allows."""
        ...

    def write(self, fd: int, data: bytes) -> int:
        """How many of the bytes were written: possibly fewer than given."""
        ...

    def fsync(self, fd: int) -> None:
        """Return when the file's bytes are on the device, as far as the operating system knows."""
        ...

    def ftruncate(self, fd: int, size_bytes: int) -> None:
        """Cut the file to that size."""
        ...

    def fsync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...

    def close(self, fd: int) -> None:
        """Close the descriptor."""
        ...


class OsIO:
    """The real thing."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, 0o666)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def ftruncate(self, fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

    def fsync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        os.close(fd)


OS_IO: LedgerIO = OsIO()


def write_all(io: LedgerIO, fd: int, data: bytes) -> None:
    """Write every byte, in one call unless the system takes fewer at a time. Raises OSError."""
    written = 0
    while written < len(data):
        count = io.write(fd, data[written:])
        if count <= 0:
            raise OSError(errno.EIO, "no byte was taken")
        written += count


def os_words(error: OSError) -> str:
    """The operating system's own words for an error."""
    return error.strerror or str(error)
