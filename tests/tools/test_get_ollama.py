"""The script that builds a real Ollama: everything but the building, which the real tests stand on."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import stat
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

CONTENT = b"GGUF, or near enough"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def tool(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    made = importlib.import_module("get_ollama")
    monkeypatch.setattr(made, "SHA256", SHA256)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(CONTENT)
    return path


def program(path: Path, *lines: str) -> Path:
    """A program that runs these lines of shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return path


def manifest_of(tool: ModuleType, models: Path) -> dict[str, object]:
    return json.loads((models / tool.manifest_path(tool.NAME)).read_text())


def test_the_store_holds_every_blob_under_its_own_sha256(tool: ModuleType, tmp_path: Path, model: Path) -> None:
    tool.store(tmp_path / "models", model)
    manifest = manifest_of(tool, tmp_path / "models")
    for entry in [manifest["config"], *manifest["layers"]]:
        blob = tmp_path / "models" / "blobs" / entry["digest"].replace(":", "-")
        assert f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}" == entry["digest"]
        assert blob.stat().st_size == entry["size"]
    assert [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]] == ["model", "template", "params"]
    config = json.loads((tmp_path / "models" / "blobs" / manifest["config"]["digest"].replace(":", "-")).read_text())
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert sorted(path.name[:7] for path in (tmp_path / "models" / "blobs").iterdir()) == ["sha256-"] * 4


def test_a_store_that_is_there_is_left_alone(tool: ModuleType, tmp_path: Path, model: Path) -> None:
    assert "written" in tool.store(tmp_path / "models", model)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")}
    assert "written" not in tool.store(tmp_path / "models", model)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")} == before


def test_the_same_model_has_the_same_digest_in_every_store(tool: ModuleType, tmp_path: Path, model: Path) -> None:
    for name in ("one", "two"):
        tool.store(tmp_path / name, model)
    first, second = ((tmp_path / name / tool.manifest_path(tool.NAME)).read_bytes() for name in ("one", "two"))
    assert first == second


def test_the_weights_are_copied_where_they_cannot_be_linked(
    tool: ModuleType, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("cross-device link")

    tool.store(tmp_path / "linked", model)
    assert (tmp_path / "linked" / "blobs" / f"sha256-{SHA256}").samefile(model)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    tool.store(tmp_path / "copied", model)
    copied = tmp_path / "copied" / "blobs" / f"sha256-{SHA256}"
    assert copied.read_bytes() == CONTENT
    assert not copied.samefile(model)


def test_a_model_that_is_missing_or_another_one_is_refused(tool: ModuleType, tmp_path: Path, model: Path) -> None:
    with pytest.raises(tool.BuildError, match=r"is not there: python tools/fetch_model.py"):
        tool.store(tmp_path / "models", tmp_path / "none.gguf")
    model.write_bytes(b"something else")
    with pytest.raises(tool.BuildError, match=rf"expected {SHA256}"):
        tool.store(tmp_path / "models", model)
    assert not (tmp_path / "models").exists()


def test_an_ollama_of_the_right_version_is_left_alone(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "ollama", f"echo Warning: client version is {tool.VERSION} >&2")
    monkeypatch.setattr(tool.shutil, "which", lambda name: pytest.fail(f"looked for {name}"))
    assert tool.ollama(tmp_path).endswith(f"is there, version {tool.VERSION}")


def test_go_is_asked_to_build_the_pinned_version_into_the_directory(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = f'printf "#!/bin/sh\\necho ollama version is {tool.VERSION}" > "$GOBIN/ollama"; chmod +x "$GOBIN/ollama"'
    go = program(
        tmp_path / "path" / "go",
        'if [ "$1" = env ]; then echo sh; exit; fi',
        'echo "$CGO_ENABLED $GOFLAGS $*" > "$GOBIN/../asked"',
        build,
    )
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(go.parent), prepend=os.pathsep)
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    assert "built from" in tool.ollama(tmp_path)
    flags = f"-s -w -X {tool.MODULE}/version.Version={tool.VERSION}"
    asked = f"1 -mod=mod install -ldflags {flags} {tool.MODULE}@v{tool.VERSION}\n"
    assert (tmp_path / "asked").read_text() == asked


@pytest.mark.parametrize(
    ("go", "words"),
    [
        (None, "there is no `go` on PATH"),
        ("echo no-such-compiler", "Go finds no no-such-compiler; install gcc or clang, or set CC"),
        ('[ "$1" = env ] && echo sh || { echo a broken module >&2; exit 1; }', "a broken module"),
    ],
    ids=["no go", "no compiler", "a build that fails"],
)
def test_what_is_missing_is_told_with_what_to_do(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go: str | None, words: str
) -> None:
    path = program(tmp_path / "path" / "go", go).parent if go else tmp_path
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}/bin" if go else str(path))
    with pytest.raises(tool.BuildError) as told:
        tool.ollama(tmp_path)
    assert words in str(told.value)


def test_the_engine_is_the_plugins_server_run_by_this_python(tool: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    folder = tmp_path / "a folder with spaces"
    tool.engine(folder)
    front = folder / "lib" / "ollama" / "llama-server"
    assert front.stat().st_mode & stat.S_IXUSR
    done = subprocess.run([front, "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout + done.stderr).startswith("xllamacpp 20")


@pytest.mark.parametrize("arguments", [[], ["one"], ["--help", "x"], ["one", "two", "three"]])
def test_other_arguments_are_a_usage_error(
    tool: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main(arguments) == 2
    assert "usage: python tools/get_ollama.py" in capsys.readouterr().err


def test_a_failure_is_one_line_and_exit_code_1(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.main([str(tmp_path / "parts"), str(tmp_path / "m.gguf")]) == 1
    assert capsys.readouterr().err.startswith("get_ollama: Ollama is built with Go")
