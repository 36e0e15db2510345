"""The frozen prompts that ship with the package, and the ones a user adds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from attrs import frozen

from weeyuga_core.config.document import compose, read_text
from weeyuga_core.config.problems import ConfigErrors, Log, Problem, Source
from weeyuga_core.config.rules import PROMPT_ID, PromptEntry, Rule
from weeyuga_core.config.shapes import MapOf, Text, record
from weeyuga_core.config.walk import BAD, Section, walk
from weeyuga_core.errors import ConfigError
from weeyuga_core.model.plan import Prompt

PINS: Mapping[str, tuple[str, int]] = {
    "P-EASY": ("98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4", 64),
    "P-MEDIUM": ("e7d95405580deb37568294493089a42a0462a865b121282c82dba9a88b4a9925", 512),
    "P-HARD": ("63584335e7e3048aad8a6c00ba4e2ceefc667b1e53e09e8acd7d3a3314d5402a", 1024),
}
"""id -> sha256 of the bytes that are sent, and the token budget. Never changed: a new prompt gets a new id."""

_DOC = "each prompt is `ID: {intent: ..., prompt: ..., max_tokens: ...}`"
_SHAPE = MapOf(
    Rule(doc=_DOC),
    Text(Rule(doc="", pattern=PROMPT_ID, expected="letters, digits, `.`, `_` and `-`")),
    record(PromptEntry),
)


@frozen(kw_only=True)
class PromptsFile:
    """What a prompts file gave: its prompts, every id it mentions (None where none could be read), its problems."""

    prompts: tuple[Prompt, ...] = ()
    ids: frozenset[str] | None = None
    problems: tuple[Problem, ...] = ()


@cache
def frozen_prompts() -> tuple[Prompt, ...]:
    """The prompts that make runs comparable. Raises ConfigError when the installed file is not the pinned one."""
    resource = files("weeyuga_core.config").joinpath("prompts.yaml")
    found = _parse(Source(str(resource), resource.read_text(encoding="utf-8")), is_frozen=True)
    if found.problems:
        raise ConfigErrors(found.problems)
    check_pins(found.prompts)
    return found.prompts


def check_pins(prompts: tuple[Prompt, ...]) -> None:
    """Raise ConfigError unless these are the frozen prompts, all of them, byte for byte."""
    for prompt in prompts:
        if (prompt.sha256, prompt.max_tokens) != PINS.get(prompt.id):
            raise ConfigError(f"the frozen prompt {prompt.id} of this installation was altered", hint="reinstall it")
    if missing := PINS.keys() - {prompt.id for prompt in prompts}:
        raise ConfigError(
            f"this installation lacks the frozen prompts {', '.join(sorted(missing))}", hint="reinstall it"
        )


def load_prompts(path: Path | None = None) -> tuple[Prompt, ...]:
    """The frozen prompts, then those of a file. Raises ConfigErrors."""
    added = read_prompts(path)
    if added.problems:
        raise ConfigErrors(added.problems)
    return frozen_prompts() + added.prompts


def read_prompts(path: Path | None) -> PromptsFile:
    """The prompts that a file adds; nothing is raised for what is wrong with it."""
    if path is None:
        return PromptsFile(ids=frozenset())
    source = read_text(path, missing="--prompts-yaml FILE names the file")
    if isinstance(source, Problem):
        return PromptsFile(problems=(source,))
    return _parse(source, is_frozen=False)


def _parse(source: Source, *, is_frozen: bool) -> PromptsFile:
    log = Log(source)
    root = compose(log)
    if root is None:
        if not log.problems:
            log.whole(f"{source.name} is empty", _DOC)
        return PromptsFile(problems=log.problems)
    section = walk(log, root, _SHAPE, "")
    if section is BAD:
        return PromptsFile(problems=log.problems)
    if not root.value:
        log.at(root, "expected at least one prompt", _DOC)
    if not is_frozen:
        _refuse_redefinitions(log, section)
    if log.problems:
        return PromptsFile(ids=frozenset(section.keys), problems=log.problems)
    prompts = tuple(
        Prompt(id=name, text=entry.prompt, max_tokens=entry.max_tokens, intent=entry.intent.strip(), frozen=is_frozen)
        for name, entry in section.build().items()
        if is_frozen or name not in PINS
    )
    return PromptsFile(prompts=prompts, ids=frozenset(section.keys))


def _refuse_redefinitions(log: Log, section: Section) -> None:
    """Report frozen ids that are given another meaning. A faithful copy of a frozen prompt changes nothing."""
    for frozen_prompt in frozen_prompts():
        key = section.keys.get(frozen_prompt.id)
        if key is None:
            continue
        entry = section.values.get(frozen_prompt.id)
        given = entry.values if isinstance(entry, Section) else {}
        if given.get("prompt") != frozen_prompt.text:
            what = f"its text is fixed, to the byte (sha256 {frozen_prompt.sha256[:12]}..., the final newline included)"
        elif given.get("max_tokens") != frozen_prompt.max_tokens:
            what = f"its max_tokens is {frozen_prompt.max_tokens}"
        else:
            continue
        log.at(key, f"{frozen_prompt.id} is a frozen prompt: {what}", "give a prompt of your own a new id")
