"""`weeyuga-bench validate`: the resolved plan on stdout, problems on stderr, exit 0 or 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from weeyuga_core import config
from weeyuga_core.cli import main

CELLS = """\
cells:
  - id: mac:engine-a:model
    endpoint: http://127.0.0.1:11434
    warm_n: 3
  - id: local:engine-b:model
    launch: {server: some-server, model: models/m.gguf}
    prompt_cache: disabled
  - {id: far:engine-b:model, endpoint: http://far.example, enabled: false, reason: pending install}
  - {id: mac:router:model, endpoint: https://brain.example, routes: mac:engine-a:model, warm_n: 0}
nodes: {mac: {quiet_hours: "02:00-05:00Z"}}
brain: {hosts: [brain.example]}
"""
PROMPTS = "P-MINE: {prompt: hello, max_tokens: 7}\n"
PROMPT_COUNT = 4
STEPS = PROMPT_COUNT * ((1 + 3) + (1 + 5) + (1 + 0))
"""One cold call and the warm ones, for each prompt of each cell that is enabled."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with both files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells.yaml").write_text(CELLS, encoding="utf-8")
    (tmp_path / "prompts.yaml").write_text(PROMPTS, encoding="utf-8")
    return tmp_path


def test_the_resolved_plan_is_data_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--prompts-yaml", "prompts.yaml"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line}
    assert rows["mac:engine-a:model"] == "http://127.0.0.1:11434 3 engine-default enabled"
    assert rows["local:engine-b:model"] == "launch some-server m.gguf 5 disabled enabled"
    assert rows["far:engine-b:model"] == "http://far.example 5 engine-default left out: pending install"
    assert "routes mac:engine-a:model" in rows["mac:router:model"]
    assert rows["mac"] == "02:00-05:00Z"
    for prompt in config.load_prompts(Path("prompts.yaml")):
        assert rows[prompt.id] == f"{prompt.max_tokens} {prompt.sha256}"
    assert rows[str(STEPS)] == "steps planned for all cells and prompts"
    assert "brain.example" in out


def test_json_holds_the_whole_plan(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main(["validate", "--prompts-yaml", "prompts.yaml", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["ok"], answer["verdict"]) == ("weeyuga.validate.v1", True, "valid")
    data = answer["data"]
    assert data["steps_planned"] == STEPS
    assert [cell["id"] for cell in data["cells"]] == [cell.id for cell in config.load(folder / "cells.yaml").cells]
    assert data["cells"][1]["launch"]["model"] == str(folder.resolve() / "models/m.gguf")
    assert data["prompts"][-1] == {
        "id": "P-MINE",
        "text": "hello",
        "max_tokens": 7,
        "intent": "",
        "frozen": False,
        "sha256": config.load_prompts(folder / "prompts.yaml")[-1].sha256,
    }


def test_every_problem_is_shown_and_ends_with_2(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "cells.yaml").write_text(CELLS + "nodse: {}\nbrian: {}\n", encoding="utf-8")
    assert main(["validate"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("error: ") == err.count("  --> cells.yaml:") == 2
    assert err.endswith("2 errors in cells.yaml\n")


def test_problems_as_json_keep_their_places(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "cells.yaml").write_text("cells: 5\n", encoding="utf-8")
    assert main(["validate", "--json"]) == 2
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert (answer["ok"], answer["verdict"]) == (False, "invalid")
    (problem,) = answer["data"]["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == ("cells.yaml", 1, 8)
    assert problem["message"] in err


def test_without_cells_yaml_it_names_init(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "cells.yaml").unlink()
    assert main(["validate"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: cells.yaml: no such file\n")
    assert "weeyuga-bench init" in err


def test_the_schema_is_printed_even_without_a_file(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "cells.yaml").unlink()
    assert main(["validate", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    assert schema == config.json_schema()


def test_the_help_does_not_load_yaml() -> None:
    code = (
        "import sys; from weeyuga_core.cli import main; main(['validate', '--help']); sys.exit('yaml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--schema" in done.stdout
