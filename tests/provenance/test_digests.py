from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.errors import ConfigError
from weeyuga_core.provenance import digests
from weeyuga_core.provenance.digests import CACHE_NAME, default_cache_dir, file_sha256

LONG_AGO_NS = 1_700_000_000_000_000_000


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def settled(path: Path, data: bytes) -> Path:
    """A file that was last written long ago."""
    path.write_bytes(data)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each file that is really read."""
    count: list[int] = []
    real = hashlib.file_digest

    def file_digest(*args: object) -> object:
        count.append(1)
        return real(*args)  # type: ignore[arg-type]  # passed through as they came

    monkeypatch.setattr(digests.hashlib, "file_digest", file_digest)
    return count


def test_the_digest_is_that_of_the_bytes_and_is_read_once(tmp_path: Path, hashed: list[int]) -> None:
    model = settled(tmp_path / "model.gguf", b"weights")
    assert file_sha256(model, cache_dir=tmp_path / "cache") == digest_of(b"weights")
    assert file_sha256(model, cache_dir=tmp_path / "cache") == digest_of(b"weights")
    assert len(hashed) == 1


def test_a_link_and_its_target_are_one_file(tmp_path: Path, hashed: list[int]) -> None:
    model = settled(tmp_path / "model.gguf", b"weights")
    (tmp_path / "link.gguf").symlink_to(model)
    assert file_sha256(tmp_path / "link.gguf", cache_dir=tmp_path) == file_sha256(model, cache_dir=tmp_path)
    assert len(hashed) == 1


def test_changed_bytes_of_the_same_size_and_time_are_seen(tmp_path: Path) -> None:
    model = settled(tmp_path / "model.gguf", b"weights")
    file_sha256(model, cache_dir=tmp_path)
    settled(model, b"WEIGHTS")
    assert file_sha256(model, cache_dir=tmp_path) == digest_of(b"WEIGHTS")


def test_a_replaced_file_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    model = settled(tmp_path / "model.gguf", b"weights")
    file_sha256(model, cache_dir=tmp_path)
    settled(tmp_path / "other", b"WEIGHTS").replace(model)
    assert file_sha256(model, cache_dir=tmp_path) == digest_of(b"WEIGHTS")


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path, hashed: list[int]) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"weights")
    file_sha256(model, cache_dir=tmp_path)
    file_sha256(model, cache_dir=tmp_path)
    assert len(hashed) == 2


@given(content=st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b"null", b'"x"', b"{}", b'{"a": 1}'])))
def test_a_broken_cache_is_ignored_and_rewritten(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    place = tmp_path_factory.mktemp("place")
    model = settled(place / "model.gguf", b"weights")
    (place / CACHE_NAME).write_bytes(content)
    assert file_sha256(model, cache_dir=place) == digest_of(b"weights")
    assert json.loads((place / CACHE_NAME).read_bytes())[str(model.resolve())]["digest"] == digest_of(b"weights")


@pytest.mark.parametrize("digest", [None, 7, "sha256:", "md5:" + "0" * 64, ""])
def test_a_broken_entry_is_ignored(tmp_path: Path, digest: object) -> None:
    model = settled(tmp_path / "model.gguf", b"weights")
    file_sha256(model, cache_dir=tmp_path)
    cache = tmp_path / CACHE_NAME
    entries = json.loads(cache.read_bytes())
    entries[str(model.resolve())]["digest"] = digest
    cache.write_text(json.dumps(entries))
    assert file_sha256(model, cache_dir=tmp_path) == digest_of(b"weights")


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, hashed: list[int]) -> None:
    model = settled(tmp_path / "model.gguf", b"weights")
    (tmp_path / "file").write_text("in the way of a directory")
    for _ in range(2):
        assert file_sha256(model, cache_dir=tmp_path / "file" / "cache") == digest_of(b"weights")
    assert len(hashed) == 2


def test_a_failing_replacement_leaves_no_litter(tmp_path: Path) -> None:
    model = settled(tmp_path / "model.gguf", b"weights")
    (tmp_path / "cache" / CACHE_NAME).mkdir(parents=True)
    assert file_sha256(model, cache_dir=tmp_path / "cache") == digest_of(b"weights")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [CACHE_NAME]


def test_the_cache_keeps_the_newest_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MAX_ENTRIES", 2)
    models = [settled(tmp_path / f"{n}.gguf", b"weights") for n in range(3)]
    for model in models:
        file_sha256(model, cache_dir=tmp_path)
    assert list(json.loads((tmp_path / CACHE_NAME).read_bytes())) == [str(m.resolve()) for m in models[1:]]


def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = settled(tmp_path / "model.gguf", b"weights")
    real = hashlib.file_digest

    def file_digest(file: object, name: str) -> object:
        model.write_bytes(b"more weights")
        return real(file, name)  # type: ignore[arg-type]  # passed through as it came

    monkeypatch.setattr(digests.hashlib, "file_digest", file_digest)
    with pytest.raises(ConfigError, match="changed while it was read"):
        file_sha256(model, cache_dir=tmp_path)
    assert not (tmp_path / CACHE_NAME).exists()


@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_what_is_not_a_readable_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        file_sha256(tmp_path / name, cache_dir=tmp_path)


def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "weeyuga-bench"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/void")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_cache_dir() == Path.home() / "Library" / "Caches" / "weeyuga-bench"
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_cache_dir() == Path.home() / ".cache" / "weeyuga-bench"
