from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from weeyuga_core.errors import GateRefused
from weeyuga_core.provenance.git import GitFacts, git_facts

if TYPE_CHECKING:
    from conftest import Repo


def fake_git(directory: Path, script: str) -> str:
    """A PATH on which `git` is this shell script."""
    directory.mkdir()
    program = directory / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{directory}{os.pathsep}{os.defpath}"


def test_a_clean_repository_has_a_sha_and_nothing_in_the_way(repo: Repo) -> None:
    sha = repo.commit("cells.yaml")
    assert git_facts(repo.root / "cells.yaml") == GitFacts(sha=sha, dirty=False)


def test_entries_name_what_happened_relative_to_the_root_wherever_the_start_is(repo: Repo) -> None:
    repo.commit("bench/cells.yaml", "kept.txt", "gone.txt")
    repo.write("bench/cells.yaml", "changed\n")
    repo.write("new.txt")
    (repo.root / "gone.txt").unlink()
    facts = git_facts(repo.root / "bench")
    assert facts.dirty is True
    assert facts.files == ("M bench/cells.yaml", "D gone.txt", "?? new.txt")
    assert facts.gate_files == facts.files


def test_a_relative_start_is_the_working_directory(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = repo.commit("cells.yaml")
    monkeypatch.chdir(repo.root)
    assert git_facts(Path("cells.yaml")).sha == sha


def test_a_staged_rename_names_both_paths(repo: Repo) -> None:
    repo.commit("old name.txt", "z.txt")
    repo.git("mv", "old name.txt", "new name.txt")
    repo.write("z.txt", "other\n")
    assert git_facts(repo.root).files == ("R old name.txt -> new name.txt", "M z.txt")


def test_strange_names_come_through_whole(repo: Repo) -> None:
    repo.commit("cells.yaml")
    names = ["čaša.txt", 'quo"te.txt', "two\nlines.txt", "-> arrow.txt", " leading"]
    for name in names:
        repo.write(name)
    assert set(git_facts(repo.root).files) == {f"?? {name}" for name in names}


@pytest.mark.skipif(sys.platform == "darwin", reason="this file system refuses names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_still_good_json(repo: Repo) -> None:
    repo.commit("cells.yaml")
    Path(os.fsdecode(os.fsencode(repo.root) + b"/bad\xff.txt")).write_text("x")
    (entry,) = git_facts(repo.root).files
    assert entry == "?? bad\\xff.txt"
    assert json.loads(json.dumps(entry).encode("ascii")) == entry


def test_a_changed_submodule_is_a_change(repo: Repo, tmp_path: Path) -> None:
    inner = type(repo)(tmp_path / "inner")
    inner.commit("a.txt")
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.root), "sub")
    repo.commit("cells.yaml")
    assert git_facts(repo.root).dirty is False
    repo.write("sub/a.txt", "changed\n")
    assert git_facts(repo.root).files == ("M sub",)


def test_untracked_ledgers_are_dirt_but_not_in_the_way(repo: Repo) -> None:
    repo.commit("cells.yaml")
    repo.write("runs/1.jsonl")
    facts = git_facts(repo.root, out_dir=repo.root / "runs")
    assert (facts.dirty, facts.files, facts.gate_files) == (True, ("?? runs/",), ())


def test_what_lies_beside_the_ledgers_in_an_untracked_directory_is_in_the_way(repo: Repo) -> None:
    repo.commit("cells.yaml")
    repo.write("results/runs/1.jsonl")
    repo.write("results/runs-old/1.jsonl")
    repo.write("results/[x]/note.txt")
    facts = git_facts(repo.root, out_dir=repo.root / "results" / "runs")
    assert facts.files == ("?? results/",)
    assert facts.gate_files == ("?? results/[x]/note.txt", "?? results/runs-old/1.jsonl")


def test_changes_of_tracked_ledgers_are_in_the_way(repo: Repo) -> None:
    repo.commit("cells.yaml", "runs/1.jsonl")
    repo.write("runs/1.jsonl", "edited\n")
    repo.write("runs/2.jsonl")
    facts = git_facts(repo.root, out_dir=repo.root / "runs")
    assert facts.files == ("M runs/1.jsonl", "?? runs/2.jsonl")
    assert facts.gate_files == ("M runs/1.jsonl",)


@pytest.mark.parametrize("out", [".", "..", "../elsewhere"])
def test_an_output_directory_that_is_not_below_the_root_excuses_nothing(repo: Repo, out: str) -> None:
    repo.commit("cells.yaml")
    repo.write("new.txt")
    assert git_facts(repo.root, out_dir=repo.root / out).gate_files == ("?? new.txt",)


def test_an_output_directory_reached_by_a_link_is_the_same_directory(repo: Repo, tmp_path: Path) -> None:
    repo.commit("cells.yaml")
    repo.write("runs/1.jsonl")
    (tmp_path / "link").symlink_to(repo.root)
    assert git_facts(tmp_path / "link", out_dir=tmp_path / "link" / "runs").gate_files == ()


def test_before_the_first_commit_there_is_no_sha_but_the_changes_are_read(repo: Repo) -> None:
    repo.write("cells.yaml")
    facts = git_facts(repo.root)
    assert (facts.sha, facts.dirty, facts.files) == (None, True, ("?? cells.yaml",))
    assert facts.note == "the repository has no commit yet"


def test_outside_a_repository_everything_is_null_and_said_so(tmp_path: Path) -> None:
    assert git_facts(tmp_path) == GitFacts(sha=None, dirty=None, note="not in a git repository")


def test_without_git_everything_is_null_and_said_so(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert git_facts(repo.root) == GitFacts(sha=None, dirty=None, note="git is not installed")


def test_the_placeholder_of_missing_developer_tools_is_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "echo 'xcode-select: note: no developer tools were found' >&2; exit 1"
    monkeypatch.setenv("PATH", fake_git(tmp_path / "bin", script))
    facts = git_facts(tmp_path)
    assert facts.sha is None
    assert facts.note is not None
    assert facts.note.startswith("git is not installed")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (".git/config", "[bad", "bad config line"),
        (".git/refs/heads/main", "garbage\n", "appears to be broken"),
        (".git/refs/heads/main", "1" * 40 + "\n", "bad object HEAD"),
        (".git/HEAD", "garbage\n", "not a git repository"),
        (".git/index", "garbage\n", "index file"),
    ],
)
def test_a_damaged_repository_is_refused_with_the_words_of_git(repo: Repo, name: str, text: str, words: str) -> None:
    repo.commit("cells.yaml")
    repo.write(name, text)
    with pytest.raises(GateRefused, match=words) as refusal:
        git_facts(repo.root)
    assert "fsck" in str(refusal.value)


def test_a_pointer_to_a_repository_that_is_gone_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text(f"gitdir: {tmp_path}/gone\n")
    with pytest.raises(GateRefused, match="not a git repository: .*gone"):
        git_facts(tmp_path)


def test_a_repository_of_another_owner_is_refused_with_the_command_that_trusts_it(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit("cells.yaml")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for this test
    monkeypatch.setattr("weeyuga_core.provenance.git._KEPT_ENV", ("GIT_CONFIG", "GIT_TEST_ASSUME"))
    with pytest.raises(GateRefused, match="dubious ownership") as refusal:
        git_facts(repo.root)
    assert refusal.value.hint is not None
    assert "safe.directory" in refusal.value.hint


def test_variables_that_point_git_elsewhere_are_not_followed(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = repo.commit("cells.yaml")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no-index"))
    assert git_facts(repo.root) == GitFacts(sha=sha, dirty=False)


def test_settings_of_the_user_change_nothing_and_run_nothing(repo: Repo, tmp_path: Path) -> None:
    sha = repo.commit("cells.yaml", "old.txt")
    ran = tmp_path / "ran"
    hook = repo.write(".git/hooks/post-index-change", f"#!/bin/sh\ntouch '{ran}'\n")
    hook.chmod(0o755)
    for key, value in {
        "core.fsmonitor": f"touch '{ran}'; false",
        "core.pager": f"touch '{ran}'",
        "status.showUntrackedFiles": "no",
        "status.relativePaths": "true",
        "status.branch": "true",
        "status.short": "true",
        "color.ui": "always",
        "log.showSignature": "true",
        "log.decorate": "full",
    }.items():
        repo.git("config", key, value)
    repo.write("bench/new.txt")
    facts = git_facts(repo.root / "bench")
    assert (facts.sha, facts.files) == (sha, ("?? bench/",))
    assert not ran.exists()


def test_a_git_that_hangs_is_refused_in_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", fake_git(tmp_path / "bin", "exec sleep 600"))
    with pytest.raises(GateRefused, match="no answer within 0.2 s"):
        git_facts(tmp_path, timeout_s=0.2)
