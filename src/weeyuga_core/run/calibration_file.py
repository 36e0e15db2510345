"""Where the calibration of a host is kept, and what a run quotes of it."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cattrs
from attrs import evolve, frozen

from weeyuga_core.discovery import core_version
from weeyuga_core.errors import UsageError
from weeyuga_core.model.calibration import UNCALIBRATED, Calibration, Promises, StampPoint
from weeyuga_core.model.records import HARNESS_VERSION
from weeyuga_core.provenance.host import HostFacts, host_facts

STALE_DAYS = 30
"""Older calibrations are quoted with their age: kernels, governors and neighbours change by the month."""

_FOLDER = "weeyuga-bench"


@frozen(kw_only=True)
class Quoted:
    """What a run knows of its host: the mapping for the meta record, the promises, a note for the operator."""

    mapping: Mapping[str, Any] | None = None
    promises: Promises = UNCALIBRATED
    note: str | None = None


def calibration_path(host: str, stamp_point: StampPoint = "socket") -> Path:
    """The file of that host and those stamps, in the user's folder for state that programs keep."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", host)
    return state_folder() / f"calibration-{name}{'' if stamp_point == 'socket' else f'.{stamp_point}'}.json"


def state_folder() -> Path:
    """`XDG_STATE_HOME` where it is set, else what the system is used to."""
    told = os.environ.get("XDG_STATE_HOME")
    if told:
        return Path(told) / _FOLDER
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _FOLDER
    return Path.home() / ".local" / "state" / _FOLDER


def save(calibration: Calibration, path: Path) -> None:
    """Write the file whole or not at all. Raises UsageError where it cannot be written."""
    text = json.dumps(calibration.as_mapping(), indent=2, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path}: the calibration cannot be written: {error.strerror or error}") from error


def read(path: Path) -> Calibration:
    """The calibration in a file; keys that it does not know are passed over. Raises UsageError, OSError."""
    try:
        return cattrs.structure(json.loads(path.read_text(encoding="utf-8")), Calibration)
    except (ValueError, TypeError, KeyError, cattrs.BaseValidationError) as error:
        raise UsageError(
            f"{path}: not a calibration: {type(error).__name__}",
            hint="write a new one: weeyuga-bench calibrate",
        ) from error


def quote(*, kernel_stamps: bool = False) -> Quoted:
    """What a run that starts now may say of this host.

    One that asks for the kernel's stamps quotes a calibration with them; where there is none, the one without, whose
    errors are larger. A file that cannot be used becomes a note and not an error: a night's run is worth more than a
    quotation.
    """
    facts = host_facts()
    path = calibration_path(facts.host)
    if kernel_stamps and (with_them := calibration_path(facts.host, "kernel")).exists():
        path = with_them
    try:
        calibration = read(path)
    except FileNotFoundError:
        return Quoted()
    except (UsageError, OSError) as error:
        words = error.message if isinstance(error, UsageError) else f"{path}: {error.strerror or error}"
        return Quoted(note=f"the calibration of this host cannot be used, so the run is an uncalibrated one: {words}")
    differs = tuple(differences(calibration, facts, datetime.now(UTC)))
    if kernel_stamps and calibration.stamp_point != "kernel":
        differs += ("made without the kernel's stamps, which this run asks for",)
    summary = "; ".join([calibration.summary, *differs])
    mapping = evolve(calibration, summary=summary).as_mapping() | {"differs": differs}
    return Quoted(mapping=mapping, promises=calibration.promises)


def differences(calibration: Calibration, facts: HostFacts, now: datetime) -> Iterator[str]:
    """In what the calibration was not made as this run is."""
    for name, then, here in (
        ("host", calibration.host, facts.host),
        ("Python", calibration.python, facts.python),
        ("record shape", calibration.harness_version, HARNESS_VERSION),
        ("weeyuga-bench", calibration.package_version, core_version()),
    ):
        if then != here:
            yield f"made with {name} {then}, this run has {here}"
    age = now - datetime.fromisoformat(calibration.at_utc)
    if age.days > STALE_DAYS:
        yield f"made {age.days} days ago"
