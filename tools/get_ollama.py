"""Build a real Ollama for the tests, once, and give it the small instruct model.

    python tools/get_ollama.py DEST_DIR MODEL_FILE

Needs Go, a C compiler and, the first time, some minutes and the network; what is there already is left alone.
DEST_DIR then holds `bin/ollama`, the engine that it starts (`lib/ollama/llama-server`: the server of the installed
llama.cpp plugin), and a model store, laid out as `ollama pull` lays it out, in `models`:

    OLLAMA_HOST=127.0.0.1:11500 OLLAMA_MODELS=DEST_DIR/models DEST_DIR/bin/ollama serve
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from fetch_model import SHA256, sha256

VERSION = "0.32.15"
MODULE = "github.com/ollama/ollama"
NAME = "smollm2:135m"

CONFIG = {
    "model_format": "gguf",
    "model_family": "llama",
    "model_families": ["llama"],
    "model_type": "134.52M",
    "file_type": "Q4_1",
    "architecture": "amd64",
    "os": "linux",
}
"""What the store says of the model; the words are those that Ollama writes for every model on every system."""
TEMPLATE = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
"""ChatML, the format that the model was trained on."""
PARAMS = {"stop": ["<|im_start|>", "<|im_end|>"]}

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."


class BuildError(Exception):
    """A part cannot be had; the message says why, and what to do."""


def build(directory: Path, model: Path) -> None:
    """Make sure that everything is there, and say what was done."""
    say(ollama(directory))
    say(engine(directory))
    say(store(directory / "models", model))


def ollama(directory: Path) -> str:
    """The program, compiled by Go; returns what was done, in a line."""
    program = directory / "bin" / "ollama"
    if version_of(program) == VERSION:
        return f"{program} is there, version {VERSION}"
    say(f"building Ollama {VERSION}: some minutes, the first time")
    compiler = compiler_of(go())
    environment = os.environ | {"CGO_ENABLED": "1", "GOBIN": str(program.parent.resolve())}
    command = [go(), "install", "-ldflags", f"-s -w -X {MODULE}/version.Version={VERSION}", f"{MODULE}@v{VERSION}"]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-10:])
        raise BuildError(f"{shlex.join(command)} failed, with the C compiler {compiler}:\n{said}")
    if (found := version_of(program)) != VERSION:
        raise BuildError(f"{program} says that it is version {found}, expected {VERSION}")
    return f"{program} built from {MODULE}@v{VERSION}"


def go() -> str:
    """The path of Go."""
    if found := shutil.which("go"):
        return found
    raise BuildError("Ollama is built with Go, and there is no `go` on PATH; install Go 1.26 or newer")


def compiler_of(program: str) -> str:
    """The C compiler that Go will call."""
    told = subprocess.run([program, "env", "CC"], capture_output=True, text=True, check=True).stdout.strip()
    if told and shutil.which(shlex.split(told)[0]):
        return told
    raise BuildError(f"Ollama needs a C compiler, and Go finds no {told or 'cc'}; install gcc or clang, or set CC")


def version_of(program: Path) -> str | None:
    """What the program says of itself; None where there is none that runs."""
    if not program.is_file():
        return None
    # Port 9 of this host: it also asks a running server for its version, and must not find one.
    environment = os.environ | {"OLLAMA_HOST": "127.0.0.1:9"}
    done = subprocess.run([program, "--version"], capture_output=True, text=True, env=environment, check=False)
    words = (done.stdout + done.stderr).split()
    return words[-1] if done.returncode == 0 and words else None


def engine(directory: Path) -> str:
    """A `llama-server` where Ollama looks for one; returns what was done, in a line."""
    found = find_spec("weeyuga_llamacpp.server") if find_spec("weeyuga_llamacpp") else None
    if found is None or found.origin is None or find_spec("xllamacpp") is None:
        raise BuildError("Ollama needs an engine: pip install './plugins/llamacpp[embedded]'")
    front = directory / "lib" / "ollama" / "llama-server"
    # A shell line, since a path with a space, or a long one, cannot stand behind `#!`.
    write(front, f'#!/bin/sh\nexec {shlex.join([sys.executable, "-P", found.origin])} "$@"\n'.encode())
    front.chmod(0o755)
    return f"{front} starts the engine of the xllamacpp wheel"


def store(models: Path, model: Path) -> str:
    """The model, in a store of Ollama's; returns what was done, in a line."""
    if not model.is_file():
        raise BuildError(f"{model} is not there: python tools/fetch_model.py {model.parent}")
    if (models / manifest_path(NAME)).is_file() and (models / "blobs" / f"sha256-{SHA256}").is_file():
        return f"{NAME} is in {models}"
    if (found := sha256(model)) != SHA256:
        raise BuildError(f"{model} has sha256 {found}, expected {SHA256}")
    add(models, NAME, model, SHA256)
    return f"{NAME} written to {models}"


def add(
    models: Path,
    name: str,
    model: Path,
    digest: str,
    *,
    template: str = TEMPLATE,
    params: Mapping[str, object] = PARAMS,
) -> None:
    """Put a model into a store under that name; `digest` is the sha256 of its file."""
    layers = [
        {**blob_of_file(models, model, digest), "mediaType": f"{LAYER_TYPE}model"},
        {**blob(models, template.encode()), "mediaType": f"{LAYER_TYPE}template"},
        {**blob(models, canonical(params)), "mediaType": f"{LAYER_TYPE}params"},
    ]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = {**blob(models, canonical({**CONFIG, "rootfs": rootfs})), "mediaType": CONFIG_TYPE}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers}
    write(models / manifest_path(name), canonical(manifest))


def manifest_path(name: str) -> Path:
    """Where the store keeps the manifest of `name:tag`."""
    return Path("manifests", "registry.ollama.ai", "library", *name.split(":"))


def blob(models: Path, content: bytes) -> dict[str, object]:
    """Digest and size of a small blob, which is written."""
    digest = hashlib.sha256(content).hexdigest()
    write(models / "blobs" / f"sha256-{digest}", content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def blob_of_file(models: Path, file: Path, digest: str) -> dict[str, object]:
    """Digest and size of a large blob: the same file under another name where the file system allows it."""
    target = models / "blobs" / f"sha256-{digest}"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        try:
            scratch.hardlink_to(file.resolve())
        except OSError:
            shutil.copyfile(file, scratch)
        scratch.replace(target)
    return {"digest": f"sha256:{digest}", "size": target.stat().st_size}


def canonical(value: object) -> bytes:
    """JSON that is the same whenever it is written, so that a model keeps its digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def write(path: Path, content: bytes) -> None:
    """The file with that content, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_bytes(content)
    scratch.replace(path)


def say(words: str) -> None:
    """A line for the person who waits."""
    print(words, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    if len(arguments) != 2 or any(argument.startswith("-") for argument in arguments):
        print("usage: python tools/get_ollama.py DEST_DIR MODEL_FILE", file=sys.stderr)
        return 2
    try:
        build(Path(arguments[0]), Path(arguments[1]))
    except (BuildError, OSError) as error:
        print(f"get_ollama: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
