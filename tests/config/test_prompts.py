"""The frozen prompts, and what a user may add."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from weeyuga_core import config
from weeyuga_core.config.prompts import PINS, check_pins
from weeyuga_core.errors import ConfigError

Write = Callable[[str | bytes], Path]

SPECIFIED = {
    "P-EASY": ("hi\n", 64),
    "P-MEDIUM": ("Explain in 4 sentences why the sky appears blue at noon.\n", 512),
    "P-HARD": ("Write a 200-word story about a fisherman who discovers a coin from a sunken empire.\n", 1024),
}


def test_the_frozen_prompts_are_the_specified_bytes() -> None:
    assert {p.id: (p.text, p.max_tokens) for p in config.frozen_prompts()} == SPECIFIED
    assert all(p.frozen for p in config.frozen_prompts())


def test_the_pins_are_the_digests_of_the_bytes_that_are_sent() -> None:
    for name, (text, max_tokens) in SPECIFIED.items():
        assert PINS[name] == (hashlib.sha256(text.encode()).hexdigest(), max_tokens)
    assert [sha[:12] for sha, _ in PINS.values()] == ["98ea6e4f216f", "e7d95405580d", "63584335e7e3"]


@pytest.mark.parametrize("change", [{"text": "hi"}, {"max_tokens": 65}, {"id": "P-EASIER"}])
def test_an_altered_installation_is_refused(change: dict[str, object]) -> None:
    first, *others = config.frozen_prompts()
    with pytest.raises(ConfigError, match="was altered"):
        check_pins((attrs.evolve(first, **change), *others))


def test_an_installation_that_lacks_a_frozen_prompt_is_refused() -> None:
    with pytest.raises(ConfigError, match="lacks the frozen prompts P-HARD"):
        check_pins(config.frozen_prompts()[:2])


def test_without_a_file_there_are_the_frozen_ones() -> None:
    assert config.load_prompts() == config.frozen_prompts()


def test_a_user_adds_prompts_after_the_frozen_ones(prompts_file: Write) -> None:
    path = prompts_file(
        "P-NEW1:\n  intent: mine\n  prompt: |\n    two\n    lines\n  max_tokens: 9\nb: {prompt: x, max_tokens: 1}\n"
    )
    *first, new, bare = config.load_prompts(path)
    assert tuple(first) == config.frozen_prompts()
    assert (new.id, new.text, new.max_tokens, new.intent, new.frozen) == ("P-NEW1", "two\nlines\n", 9, "mine", False)
    assert (bare.id, bare.intent) == ("b", "")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{prompt: hello, max_tokens: 64}", "P-EASY is a frozen prompt: its text is fixed, to the byte"),
        ("{prompt: hi, max_tokens: 64}", "the final newline included"),
        ('{prompt: "hi\\n", max_tokens: 65}', "P-EASY is a frozen prompt: its max_tokens is 64"),
    ],
)
def test_a_frozen_prompt_cannot_be_redefined(prompts_file: Write, entry: str, message: str) -> None:
    with pytest.raises(config.ConfigErrors) as caught:
        config.load_prompts(prompts_file(f"P-NEW: {{prompt: x, max_tokens: 1}}\nP-EASY: {entry}\n"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.length) == (2, 1, len("P-EASY"))
    assert message in problem.message


def test_a_faithful_copy_of_a_frozen_prompt_changes_nothing(prompts_file: Write) -> None:
    path = prompts_file("P-EASY:\n  intent: other words\n  prompt: |\n    hi\n  max_tokens: 64\n")
    assert config.load_prompts(path) == config.frozen_prompts()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected at least one prompt"),
        ("# nothing\n", "is empty"),
        ("P X: {prompt: a, max_tokens: 1}", "key of top level: expected letters, digits"),
        ("P: {prompt: '', max_tokens: 1}", "P.prompt: expected some text, got an empty string"),
        ("P: {prompt: 12:30, max_tokens: 1}", "P.prompt: expected a string, got 12:30"),
        ("P: {prompt: a, max_tokens: 0}", "P.max_tokens: expected a whole number of at least 1, got 0"),
        ("P: {prompt: a}", "P: required key 'max_tokens' is missing"),
        ("P: hello", "P: expected a mapping, got the string 'hello'"),
        ("P: {prompt: a, max_tokens: 1, maxtokens: 2}", "unknown key 'maxtokens' in P"),
    ],
)
def test_a_faulty_prompt_is_a_problem(prompts_file: Write, text: str, message: str) -> None:
    with pytest.raises(config.ConfigErrors) as caught:
        config.load_prompts(prompts_file(text))
    (problem,) = caught.value.problems
    assert message in problem.message
