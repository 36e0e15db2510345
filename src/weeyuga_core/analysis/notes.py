"""What a reader must know before believing a cell's rows, in words.

Each rule looks at one block and says what it found there; equal words about several prompts become one note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median

from weeyuga_core.analysis.blocks import Block
from weeyuga_core.model.records import CallRecord

Rule = Callable[[Block], Iterator[str]]

TOLD_ABOVE = ("finish_reason", "empty_answer")
"""Flag words that rules of their own tell, from the fields themselves, so that older ledgers have them too."""

MAX_WORDS = 200
"""Longest text of an engine's that a note repeats, in characters; the ledger has it all."""


def notes(blocks: Iterable[Block]) -> tuple[str, ...]:
    """The notes of one cell, worst first, each led by the prompts it is about."""
    prompts: dict[str, list[str]] = {}
    for rule in RULES:
        for block in blocks:
            for text in rule(block):
                prompts.setdefault(text, []).append(block.prompt_id)
    return tuple(f"{', '.join(dict.fromkeys(ids))}: {text}" for text, ids in prompts.items())


def failures(block: Block) -> Iterator[str]:
    """Say how many calls failed and in which words."""
    for phase, calls in _phases(block):
        words = Counter(_error_words(call) for call in calls if call.error is not None)
        for text, count in words.items():
            yield f"{_share(count, calls, phase)} failed: {text}"


def doubtful_cold(block: Block) -> Iterator[str]:
    """Say when nothing proves that the cold call was cold, or something disproves it."""
    for call in block.cold:
        proof = f": {clip(call.cold_proof)}" if call.cold_proof else ""
        if call.cold_proven is False:
            yield f"the cold call was not cold{proof}"
        elif call.cold_proven is None and call.error is None:
            yield f"nothing proves that the cold call was cold{proof}"


def incomplete(block: Block) -> Iterator[str]:
    """Say which calls are missing, and which attempts were left aside."""
    if not block.cold and not any(call.pair_id is not None for call in block.warm):
        yield "no cold call recorded"
    if len(block.cold) > 1:
        yield f"{len(block.cold)} cold calls recorded, the first is shown"
    if block.warm_planned is not None and len(block.warm) < block.warm_planned:
        yield f"{len(block.warm)} of {block.warm_planned} planned warm calls recorded"
    if block.attempts > 1:
        yield f"attempt {block.attempt} is shown, {block.attempts} were made"


def finish_reasons(block: Block) -> Iterator[str]:
    """Say when an answer ended by anything but the engine's own stop."""
    for phase, calls in _phases(block):
        reasons = Counter(clip(call.finish_reason or "null") for call in calls if call.error is None)
        for reason, count in reasons.items():
            if reason != "stop":
                yield f"finish_reason {reason} in {_share(count, calls, phase)}"


def empty_answers(block: Block) -> Iterator[str]:
    """Say when no answer came, and whether reasoning took its place."""
    for phase, calls in _phases(block):
        empty = Counter(_why_empty(call) for call in calls if _is_empty(call))
        for why, count in empty.items():
            yield f"empty answer in {_share(count, calls, phase)}: {why}"


def cached_tokens(block: Block) -> Iterator[str]:
    """Say how much of the prompt came from the engine's cache."""
    ok = [call for call in block.cold if call.error is None]
    for call in ok:
        if call.cached_prompt_tokens:
            yield f"the cold call met cached tokens: {_cached(ok)}"
            break
    warm = block.warm_ok
    known = [call for call in warm if call.cached_prompt_tokens is not None]
    if any(call.cached_prompt_tokens for call in known):
        yield f"warm calls hit the prompt cache: {_cached(known)}"
    elif known:
        yield "warm calls found nothing of the prompt in the cache"
    unknown = len(warm) - len(known)
    if unknown:
        yield f"the engine does not say what came from its prompt cache in {_share(unknown, warm, 'warm')}"


def missing_figures(block: Block) -> Iterator[str]:
    """Say why a call that did not fail lacks a first delta or a rate."""
    for phase, calls in _phases(block):
        ok = [call for call in calls if call.error is None]
        silent = sum(call.first_delta_ms is None for call in ok)
        if silent:
            yield f"no delta came in {_share(silent, calls, phase)}"
        reasons = Counter(
            clip(call.tokens_per_sec_null_reason or "no reason given") for call in ok if call.tokens_per_sec is None
        )
        for reason, count in reasons.items():
            yield f"tokens_per_sec is empty in {_share(count, calls, phase)}: {reason}"


def call_flags(block: Block) -> Iterator[str]:
    """Repeat the other flags of the calls: each word once, with its count and its first detail."""
    for phase, calls in _phases(block):
        details: dict[str, list[str]] = {}
        for call in calls:
            for flag in dict.fromkeys(call.call_flags):
                details.setdefault(flag.partition(":")[0], []).append(flag)
        for told in TOLD_ABOVE:
            details.pop(told, None)
        for flags in details.values():
            more = "" if len(set(flags)) == 1 else " (the first of several)"
            yield f"{clip(flags[0])}{more}, in {_share(len(flags), calls, phase)}"


def conditions(block: Block) -> Iterator[str]:
    """Say what was done around the calls: priming, a request sent twice."""
    primed: dict[str, list[int]] = {}
    for call in block.warm:
        if call.primed:
            primed.setdefault(clip(call.primed), []).append(call.run_idx)
    for reason, indexes in primed.items():
        yield f"priming call before warm {', '.join(map(str, indexes))}: {reason}"
    for phase, calls in _phases(block):
        retried = sum(call.connection_retried for call in calls)
        if retried:
            yield f"sent again on a new connection in {_share(retried, calls, phase)}, the kept one was dead"


def stamps(block: Block) -> Iterator[str]:
    """Say where the kernel stamped what came in, how much later this process had it, and where it did not and why."""
    for phase, calls in _phases(block):
        lags = [(call.receive_lag_p50_ns, call.receive_lag_max_ns) for call in calls if call.stamp_point == "kernel"]
        known = [(p50, most) for p50, most in lags if p50 is not None and most is not None]
        if known:
            p50, most = median(p50 for p50, _ in known), max(most for _, most in known)
            later = f"read {p50 / 1e6:.2f} ms later (median), {most / 1e6:.2f} ms at the most"
            yield f"stamped by the kernel in {_share(len(known), calls, phase)}, {later}"
        for why, count in Counter(clip(call.stamp_note) for call in calls if call.stamp_note).items():
            yield f"not stamped by the kernel in {_share(count, calls, phase)}: {why}"


RULES: tuple[Rule, ...] = (
    failures,
    doubtful_cold,
    incomplete,
    finish_reasons,
    empty_answers,
    missing_figures,
    call_flags,
    cached_tokens,
    conditions,
    stamps,
)


def clip(text: str) -> str:
    """The text, or its beginning where it is longer than `MAX_WORDS`."""
    return text if len(text) <= MAX_WORDS else text[: MAX_WORDS - 1] + "…"


def _phases(block: Block) -> tuple[tuple[str, Sequence[CallRecord]], ...]:
    return ("cold", block.cold), ("warm", block.warm)


def _share(count: int, calls: Sequence[CallRecord], phase: str) -> str:
    if phase == "cold" and len(calls) == 1:
        return "the cold call"
    return f"{count} of {len(calls)} {phase} calls"


def _error_words(call: CallRecord) -> str:
    words = clip(call.error or "no words given")
    return f"{call.error_kind}: {words}" if call.error_kind else words


def _is_empty(call: CallRecord) -> bool:
    return call.error is None and call.answer_chars == 0 and call.finish_reason != "tool_calls"


def _why_empty(call: CallRecord) -> str:
    if not call.reasoning_chars:
        return "neither answer nor reasoning came"
    return "budget spent on reasoning" if call.finish_reason == "length" else "only reasoning came"


def _cached(calls: Sequence[CallRecord]) -> str:
    cached = [call.cached_prompt_tokens for call in calls if call.cached_prompt_tokens is not None]
    prompt = [call.prompt_tokens for call in calls if call.prompt_tokens is not None]
    return f"{_range(cached)} of {_range(prompt)} prompt tokens" if prompt else f"{_range(cached)} prompt tokens"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
