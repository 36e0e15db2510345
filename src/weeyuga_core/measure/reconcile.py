"""Client's view against the engine's view of one call: flags where they disagree, an error where no view can be true.

Pure. Flags read `word: both numbers`; they never change a number. Each bound below says why it stands where it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve

from weeyuga_core.interfaces import EngineTimings, StreamEvent
from weeyuga_core.measure.timing import Timing, deltas_of, engine_timings_of, gaps_of
from weeyuga_core.model.plan import RELOAD_NS

RATE_BOUND = 0.20
"""Share by which two decode rates may differ: windows that start at the prompt's end or at the first token, stop
tokens and text that an engine holds back differ by a few tokens, which on answers of tens of tokens is under this."""

RATE_WINDOW_NS = 200_000_000
"""Shorter windows hold too few tokens for the share above to mean anything."""

CLOCK_SLACK_NS = 5_000_000
"""Engines round to whole milliseconds and stop their clocks in different places of their loops."""

CLOCK_SLACK_SHARE = 0.01
"""Two machines' monotonic clocks agree far better; 1 % is where a run's own clock check calls it invalid."""

TOKEN_SLACK = 1
"""Counts differ by one where an end-of-text or start-of-text token is counted on one side only."""

MAX_TOKENS_PER_SEC = 100_000
"""Every decoded token costs a pass over the weights: 0.1 GB at 3 TB/s, the smallest useful model on the fastest
memory sold, allows 30,000 passes a second. Several tokens a pass, by speculation, stay under this."""

MIN_PASS_NS = 1_000_000_000 // MAX_TOKENS_PER_SEC
"""The same limit for a prompt: however many tokens are processed at once, it is one pass at least."""

BUFFERED_MIN_DELTAS = 8
"""Fewer gaps than seven show no pattern."""

BUFFERED_MIN_NS = 200_000_000
"""A generation shorter than this may well leave an engine or a kernel in one write."""

BUFFERED_MIN_TOKEN_NS = 1_000_000
"""Tokens closer than 1 ms share reads on any busy client: coalescing says nothing about a proxy then."""

BURST_GAP_NS = 1_000_000
"""Deltas that left one buffer come in the same read or some microseconds apart."""

BURST_GAP_SHARE = 0.1
"""... and at a small part of the time that the engine needs for a token."""

BURST_SHARE = 0.9
"""Share of gaps that are bursts: ten deltas to a buffer. Speculative decoding emits fewer per step on average; a
proxy's smallest usual buffer, 4 KiB, holds about sixteen."""

CATCH_UP_SHARE = 0.5
"""Deltas that come in less than half of the time the engine took to make them were waiting somewhere."""

_NS_PER_MS = 1_000_000


def checked(timing: Timing, events: Sequence[StreamEvent]) -> Timing:
    """The timing with its flags; an impossible rate becomes its error, unless it already has one."""
    flagged = evolve(timing, call_flags=(*timing.call_flags, *reconcile(timing, events)))
    reason = impossible_rate(timing, events)
    if reason is None or timing.error_kind is not None:
        return flagged
    return evolve(flagged, error_kind="impossible_rate", error=reason)


def reconcile(timing: Timing, events: Sequence[StreamEvent]) -> tuple[str, ...]:
    """Flags for each disagreement beyond its bound, with both numbers."""
    engine = engine_timings_of(events)
    flags = [*_buffered(timing, engine, gaps_of(deltas_of(events)))]
    if engine is not None:
        flags += [*_rates(timing, engine), *_durations(timing, engine), *_tokens(timing, engine)]
    return tuple(flags)


def reloaded(events: Sequence[StreamEvent]) -> tuple[str, ...]:
    """The flag of a warm call in which the engine says that it loaded the model; none where it did not."""
    engine = engine_timings_of(events)
    if engine is None or engine.load_ns is None or engine.load_ns < RELOAD_NS:
        return ()
    return (f"reloaded: load took {_ms(engine.load_ns)} in a warm call",)


def impossible_rate(timing: Timing, events: Sequence[StreamEvent]) -> str | None:
    """Why no machine can have done what the call claims, or None."""
    for who, rate in (
        ("the client saw", timing.tokens_per_sec),
        ("the client saw", timing.decode_tokens_per_sec),
        ("the engine claims", timing.engine_tokens_per_sec),
    ):
        if rate is not None and rate > MAX_TOKENS_PER_SEC:
            return f"{who} {rate:,.0f} tokens/s; nothing decodes more than {MAX_TOKENS_PER_SEC:,}"
    engine = engine_timings_of(events)
    if engine is None:
        return None
    intervals = _intervals(engine)
    if intervals and engine.predicted_ns is not None and engine.predicted_ns < intervals * MIN_PASS_NS:
        return (
            f"the engine claims {intervals} tokens in {engine.predicted_ns} ns; a token takes {MIN_PASS_NS} ns or more"
        )
    if engine.prompt_n and engine.prompt_ns is not None and engine.prompt_ns < MIN_PASS_NS:
        return f"the engine claims a prompt in {engine.prompt_ns} ns; one pass takes {MIN_PASS_NS} ns or more"
    return None


def _rates(timing: Timing, engine: EngineTimings) -> Iterator[str]:
    """The decode rate from first to last delta against the engine's, per interval between tokens."""
    client, theirs = timing.decode_tokens_per_sec, _engine_rate(timing, engine)
    if client is None or theirs is None or _span(timing) < RATE_WINDOW_NS:
        return
    if abs(client - theirs) > RATE_BOUND * theirs:
        yield f"rate_mismatch: client {client:.1f} tokens/s, engine {theirs:.1f} tokens/s"


def _durations(timing: Timing, engine: EngineTimings) -> Iterator[str]:
    """The client's clock starts before the request leaves, so it can never show less than the engine's."""
    before_first = (engine.load_ns or 0) + (engine.prompt_ns or 0)
    if timing.first_delta_ns is not None and timing.first_delta_ns < _least(before_first):
        yield f"first_delta_too_early: client {_ms(timing.first_delta_ns)}, engine load and prompt {_ms(before_first)}"
    parts = before_first + (engine.predicted_ns or 0)
    total = parts if engine.total_ns is None else engine.total_ns
    if timing.total_duration_ns is not None and timing.total_duration_ns < _least(total):
        yield f"total_too_short: client {_ms(timing.total_duration_ns)}, engine {_ms(total)}"


def _tokens(timing: Timing, engine: EngineTimings) -> Iterator[str]:
    """The counts of the usage block against those of the engine's timings."""
    completion, predicted = timing.completion_tokens, engine.predicted_n
    if completion is not None and predicted is not None and abs(completion - predicted) > TOKEN_SLACK:
        yield f"completion_tokens_mismatch: usage {completion}, engine {predicted}"
    prompt, processed, cached = timing.prompt_tokens, engine.prompt_n, timing.cached_prompt_tokens
    if prompt is None or processed is None:
        return
    if cached is None:
        if processed > prompt + TOKEN_SLACK:
            yield f"prompt_tokens_mismatch: usage {prompt}, engine processed {processed}"
    elif abs(prompt - cached - processed) > TOKEN_SLACK:
        yield f"prompt_tokens_mismatch: usage {prompt}, engine cached {cached} + processed {processed}"


def _buffered(timing: Timing, engine: EngineTimings | None, gaps: Sequence[int]) -> Iterator[str]:
    """Signs that something between engine and client held the stream back.

    Either sign is enough. Bursts: nearly all gaps are next to nothing beside the time a token takes. Catching up:
    the deltas took less than half of the engine's time, and at the median came faster than it can make tokens; the
    second half tells a late start, such as hidden reasoning, from a held-back stream. A token's time is the engine's
    own word, else the mean gap.
    """
    span = _span(timing)
    generated = span if engine is None or engine.predicted_ns is None else engine.predicted_ns
    intervals = (engine and engine.predicted_ns is not None and _intervals(engine)) or len(gaps)
    if len(gaps) < BUFFERED_MIN_DELTAS - 1 or generated < BUFFERED_MIN_NS:
        return
    token_ns = generated / intervals
    if token_ns < BUFFERED_MIN_TOKEN_NS:
        return
    limit = min(BURST_GAP_NS, BURST_GAP_SHARE * token_ns)
    bursts = sum(gap < limit for gap in gaps)
    pace = f"a token takes {_ms(token_ns)}"
    if bursts >= BURST_SHARE * len(gaps):
        yield f"buffered: {bursts} of {len(gaps)} gaps between deltas under {_ms(limit)}, {pace}"
    elif span < CATCH_UP_SHARE * generated and (timing.gap_p50_ns or 0) < CATCH_UP_SHARE * token_ns:
        yield f"buffered: median gap {_ms(timing.gap_p50_ns or 0)} over {_ms(span)}, {pace} over {_ms(generated)}"


def _engine_rate(timing: Timing, engine: EngineTimings) -> float | None:
    """Intervals per second, where the engine says both, else the rate it states."""
    intervals = _intervals(engine)
    if intervals and engine.predicted_ns:
        return intervals / (engine.predicted_ns / 1e9)
    return timing.engine_tokens_per_sec


def _intervals(engine: EngineTimings) -> int | None:
    """Token intervals in `predicted_ns`: stated by the adapter, else taken to be one a token."""
    return engine.predicted_n if engine.predicted_intervals is None else engine.predicted_intervals


def _span(timing: Timing) -> int:
    """From first to last delta, in ns; 0 where there are none."""
    return (timing.last_delta_ns or 0) - (timing.first_delta_ns or 0)


def _least(engine_ns: int) -> float:
    """The least that the client's clock can show for a stretch of the engine's."""
    return engine_ns * (1 - CLOCK_SLACK_SHARE) - CLOCK_SLACK_NS


def _ms(ns: float) -> str:
    """A duration as a flag words it."""
    return f"{ns / _NS_PER_MS:.1f} ms"
