"""Fake installed distributions: a dist-info folder and a module on `sys.path`, nothing more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

Installer = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """Install a fake distribution: `install(dist, module, code, entry=..., version=..., requires=...)`."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def put(
        dist: str,
        module: str,
        code: str,
        *,
        entry: str | None = None,
        version: str = "1.0",
        requires: str | None = None,
    ) -> None:
        (tmp_path / f"{module}.py").write_text(dedent(code))
        info = tmp_path / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n{needs}")
        (info / "entry_points.txt").write_text(f"[weeyuga]\n{entry or dist} = {module}\n")

    yield put
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
