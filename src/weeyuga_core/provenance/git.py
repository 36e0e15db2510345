"""What git says of the repository that holds the cells file."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from weeyuga_core.errors import GateRefused

GIT_TIMEOUT_S = 20.0

_NO_REPOSITORY = re.compile(r"not a git repository \(or any")
"""Git's words where there is none. `not a git repository: PATH` is another thing: a broken pointer to one."""

_KEPT_ENV = ("GIT_CONFIG", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH")
_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_STATUS = ("status", "--porcelain=v1", "-z")


@frozen(kw_only=True)
class GitFacts:
    """State of a repository; sha, dirty and files are null or empty where there is none, and `note` says why.

    `files` are all entries of `git status` as `M path`, `?? path`, `R old -> new`, relative to the repository's
    root. `gate_files` are those that stand in the way of a run: untracked files below the output directory do not.
    """

    sha: str | None
    dirty: bool | None
    files: tuple[str, ...] = ()
    gate_files: tuple[str, ...] = ()
    note: str | None = None


@frozen(kw_only=True)
class _Entry:
    """One entry of `git status`: its two letters, the path, and the former path of a rename or copy."""

    letters: str
    path: str
    former: str | None = None

    @property
    def untracked(self) -> bool:
        return self.letters == "??"

    def __str__(self) -> str:
        named = f"{self.former} -> {self.path}" if self.former is not None else self.path
        # Names are bytes to the system: what is not UTF-8 is written out, so that every JSON reader can read it.
        return f"{self.letters.strip()} {named}".encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@frozen(kw_only=True)
class _Answer:
    code: int
    out: str
    words: str


def git_facts(start: Path, *, out_dir: Path | None = None, timeout_s: float = GIT_TIMEOUT_S) -> GitFacts:
    """The facts of the repository around `start` (a file or a directory).

    An `out_dir` that is the repository's root or lies around it excuses nothing. Raises GateRefused when there is
    a repository that git will not or cannot read.
    """
    where = start if start.is_dir() else start.parent
    try:
        top = _git(where, "rev-parse", "--show-toplevel", timeout_s=timeout_s)
    except FileNotFoundError:
        return GitFacts(sha=None, dirty=None, note="git is not installed")
    if top.code and "xcode-select" in top.words:
        return GitFacts(sha=None, dirty=None, note="git is not installed (the developer tools are missing)")
    if top.code == 128 and _NO_REPOSITORY.search(top.words) and not _remains(where):
        return GitFacts(sha=None, dirty=None, note="not in a git repository")
    root = Path(_checked(top, where).removesuffix("\n"))

    entries = _status(root, "--untracked-files=normal", timeout_s=timeout_s)
    sha = _head(root, timeout_s)
    return GitFacts(
        sha=sha,
        dirty=bool(entries),
        files=tuple(map(str, entries)),
        gate_files=tuple(str(entry) for entry in _in_the_way(root, entries, out_dir, timeout_s)),
        note=None if sha else "the repository has no commit yet",
    )


def _remains(where: Path) -> bool:
    """Whether a `.git` lies where git looked although git saw no repository: a damaged one, then."""
    if os.environ.get("GIT_CEILING_DIRECTORIES"):
        return False
    here = where.resolve()
    device = here.stat().st_dev  # git does not look beyond the file system either
    return any((each / ".git").exists() for each in (here, *here.parents) if each.stat().st_dev == device)


def _head(root: Path, timeout_s: float) -> str | None:
    """The commit that HEAD names, or None before the first commit."""
    # `rev-parse` does not tell a branch without commits from a broken one; `log` does, in words.
    answer = _git(root, "log", "-1", "--no-show-signature", "--format=%H", timeout_s=timeout_s)
    if answer.code == 128 and "does not have any commits yet" in answer.words:
        return None
    return _checked(answer, root).strip()


def _in_the_way(root: Path, entries: list[_Entry], out_dir: Path | None, timeout_s: float) -> Iterator[_Entry]:
    """The entries that the dirty gate counts."""
    out = _below(root, out_dir) if out_dir is not None else None
    for entry in entries:
        if out is None or not entry.untracked:
            yield entry
        elif entry.path.endswith("/") and f"{out}/".startswith(entry.path) and f"{out}/" != entry.path:
            # Git names only the topmost untracked directory; what else lies in it still counts.
            inside = f":(top,literal){entry.path}"
            found = _status(root, "--untracked-files=all", "--", inside, timeout_s=timeout_s)
            yield from (each for each in found if not each.path.startswith(f"{out}/"))
        elif not entry.path.startswith(f"{out}/"):
            yield entry


def _below(root: Path, out_dir: Path) -> str | None:
    """The path of `out_dir` relative to `root` as git spells it, or None unless it lies strictly below."""
    resolved, top = out_dir.resolve(), root.resolve()
    if top not in resolved.parents:
        return None
    return resolved.relative_to(top).as_posix()


def _status(root: Path, *args: str, timeout_s: float) -> list[_Entry]:
    """The parsed entries of `git status`."""
    fields = iter(_checked(_git(root, *_STATUS, *args, timeout_s=timeout_s), root).split("\0"))
    entries = []
    for item in fields:
        if item:
            letters, path = item[:2], item[3:]
            former = next(fields) if "R" in letters or "C" in letters else None
            entries.append(_Entry(letters=letters, path=path, former=former))
    return entries


def _git(where: Path, *args: str, timeout_s: float) -> _Answer:
    """Run git without pager, prompts, hooks, locks or translated words. Raises FileNotFoundError, GateRefused."""
    try:
        done = subprocess.run(
            ("git", *_OPTIONS, "-C", os.fspath(where), *args),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GateRefused(
            f"git gave no answer within {timeout_s:g} s in {where}",
            hint=f"see what keeps `git -C {where} {args[0]}` busy (a slow disk, a huge untracked directory)",
        ) from None
    except (PermissionError, NotADirectoryError) as error:
        raise GateRefused(f"git cannot be run: {error.strerror}", hint="repair the PATH or the git program") from error
    return _Answer(
        code=done.returncode,
        out=os.fsdecode(done.stdout),
        words=done.stderr.decode("utf-8", "replace").strip(),
    )


def _environment() -> dict[str, str]:
    """Ours, less the variables that would point git at another repository (set, for instance, inside a git hook)."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key.startswith(_KEPT_ENV)}
    return {**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def _checked(answer: _Answer, where: Path) -> str:
    """Git's output. Raises GateRefused with git's own words when it failed."""
    if answer.code == 0:
        return answer.out
    words = answer.words or f"exit code {answer.code}"
    if "dubious ownership" in words or "unsafe repository" in words:
        hint = f"run as the owner of the repository, or trust it: git config --global --add safe.directory {where}"
    else:
        hint = f"repair the repository (`git -C {where} fsck` says more), or keep the cells file outside of it"
    raise GateRefused(f"git cannot read the repository that holds the cells file: {words}", hint=hint)
