"""Every code block of the documentation is executed.

A document is one test. Its blocks run in order, in one fresh folder that holds copies of `examples` and
`tests/golden` and sees the downloaded model:

- ```console: lines that begin with `$ ` are run by bash; the lines below one are what it must print (stdout and
  stderr), where `...` stands for anything, also across lines. A last line `(exit N)` says which exit code is right.
- ```python: executed.
- ```yaml: a cells file, checked by `weeyuga-bench validate`. ```toml and ```json: parsed.
- a block below `<!-- file: NAME -->` is written to that file.
- a block below `<!-- not run: WHY -->` is not executed.
- a document that holds `<!-- real: WHAT -->` is a real-parts test.

Blocks in no language, or in `text`, are drawings and output to look at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md")]
    + [*(ROOT / "examples").glob("*/README.md")]
    if path.is_file()
)
BLOCK = re.compile(
    r"(?:<!-- (?P<directive>file|not run): (?P<detail>[^\n]*?) -->\s*\n)?"
    r"^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
TO_LOOK_AT = {"", "text", "markdown"}
PARSERS = {"toml": tomllib.loads, "json": json.loads}


@frozen
class Block:
    directive: str | None
    detail: str
    language: str
    body: str


def blocks_of(text: str) -> list[Block]:
    return [Block(m["directive"], m["detail"] or "", m["language"], m["body"]) for m in BLOCK.finditer(text)]


def real_mark(path: Path) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.real,) if "<!-- real: " in path.read_text() else ()


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT)), marks=real_mark(p)) for p in DOCUMENTS])
def test_the_code_blocks_of(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    if "<!-- real: " in text:
        need_model()
    prepare(tmp_path)
    for block in blocks_of(text):
        run_block(block, tmp_path)


def need_model() -> None:
    if any((ROOT / "models").glob("*.gguf")):
        return
    if os.environ.get("WEEYUGA_REAL_REQUIRED"):
        pytest.fail("the model is not in models/, though this suite installs it")
    pytest.skip("the model is not in models/; python tools/fetch_model.py models")


def prepare(folder: Path) -> None:
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__", "runs"))
    shutil.copytree(ROOT / "tests" / "golden", folder / "tests" / "golden")
    (folder / "models").symlink_to(ROOT / "models")


def run_block(block: Block, folder: Path) -> None:
    if block.directive == "not run":
        assert block.detail, "say why a block is not run"
    elif block.directive == "file":
        target = folder / block.detail
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.body)
    elif block.language == "console":
        for command, expected in commands_of(block.body):
            run_command(command, expected, folder)
    elif block.language == "python":
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block.body], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    elif block.language == "yaml":
        (folder / "block.yaml").write_text(block.body)
        run_command("weeyuga-bench validate --cells-yaml block.yaml", "", folder)
    elif block.language in PARSERS:
        PARSERS[block.language](block.body)
    else:
        assert block.language in TO_LOOK_AT, (
            f"a {block.language} block is neither a file nor marked as not run:\n{block.body}"
        )


def commands_of(body: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            pairs.append((line[2:], []))
        elif pairs and not pairs[-1][1] and pairs[-1][0].endswith("\\"):
            pairs[-1] = (pairs[-1][0] + "\n" + line, [])
        else:
            assert pairs, f"a console block begins with a command, not with {line!r}"
            pairs[-1][1].append(line)
    return [(command, "\n".join(lines).strip()) for command, lines in pairs]


def run_command(command: str, expected: str, folder: Path) -> None:
    code = 0
    if said := re.search(r"\n?\(exit (\d+)\)$", expected):
        code, expected = int(said[1]), expected[: said.start()]
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == code, f"$ {command}\n{done.stdout}(exit {done.returncode})"
    if expected:
        pattern = re.escape(expected).replace(re.escape("..."), ".*?")
        assert re.search(rf"\A\s*{pattern}\s*\Z", done.stdout, re.DOTALL), f"$ {command}\n{done.stdout}"


def test_blocks_are_found_with_their_directives() -> None:
    text = "a\n<!-- file: x.yaml -->\n```yaml\nk: v\n```\n\n```console\n$ echo hi\nhi\n```\n"
    assert blocks_of(text) == [
        Block("file", "x.yaml", "yaml", "k: v\n"),
        Block(None, "", "console", "$ echo hi\nhi\n"),
    ]


def test_a_command_that_prints_something_else_fails(tmp_path: Path) -> None:
    run_command("echo one; echo two", "one\n...", tmp_path)
    with pytest.raises(AssertionError):
        run_command("echo one", "two", tmp_path)
    with pytest.raises(AssertionError):
        run_command("exit 3", "", tmp_path)
    run_command("exit 3", "(exit 3)", tmp_path)
