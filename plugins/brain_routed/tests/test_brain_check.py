"""`brain check`: green on a brain that tags its telemetry, red with the header's name on one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reference_brains import reference_brain

from weeyuga_brain_routed.check import Sent, all_seen, calls_to_send, findings, leaves, query
from weeyuga_core.cli import main
from weeyuga_core.model.tags import HEADER_OF_TAG, HEADER_TRACE

TAGS = list(HEADER_OF_TAG)


def envelope(sent: Sent, **changes: Any) -> dict[str, Any]:
    """What a brain should emit for that call."""
    typed = {**sent.tags, "test": True, "benchmark_run_idx": int(sent.tags["benchmark_run_idx"])}
    return {"event": {"duration": 5}, "trace": {"id": sent.trace_id}, "metadata": typed} | changes


def states(sent: tuple[Sent, ...], documents: list[dict[str, Any]]) -> dict[str, str]:
    return {one.header: one.state for one in findings(sent, documents)}


# --- pure ---------------------------------------------------------------------------------------------------------


def test_two_calls_differ_in_every_tag_that_can_differ() -> None:
    first, second = calls_to_send()
    same = {tag for tag in TAGS if first.tags[tag] == second.tags[tag]}
    assert same == {"test", "benchmark_run_id", "benchmark_cell_id"}
    assert first.trace_id != second.trace_id
    again, _ = calls_to_send()
    assert first.tags["benchmark_run_id"] != again.tags["benchmark_run_id"]


def test_everything_arrived() -> None:
    sent = calls_to_send()
    documents = [envelope(one) for one in reversed(sent)]
    found = findings(sent, documents)
    assert {one.state for one in found} == {"arrived"}
    assert all(one.ok and one.envelopes == 2 for one in found)
    assert [one.under for one in found] == [(f"metadata.{tag}",) for tag in TAGS] + [("trace.id",)]
    assert all_seen(sent, documents)


def test_labels_of_a_logs_index_and_dotted_keys_will_do() -> None:
    sent = calls_to_send()
    logs = [{"trace.id": one.trace_id, "labels": one.tags} for one in sent]
    assert {one.under for one in findings(sent, logs)} == {*((f"labels.{tag}",) for tag in TAGS), ("trace.id",)}
    dotted = [{"trace.id": one.trace_id} | {f"metadata.{k}": v for k, v in one.tags.items()} for one in sent]
    assert set(states(sent, dotted).values()) == {"arrived"}


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_that_one_envelope_lacks_is_missing(tag: str) -> None:
    sent = calls_to_send()
    documents = [envelope(one) for one in sent]
    del documents[1]["metadata"][tag]
    found = {one.header: one for one in findings(sent, documents)}
    assert [name for name, one in found.items() if not one.ok] == [HEADER_OF_TAG[tag]]
    assert (found[HEADER_OF_TAG[tag]].state, found[HEADER_OF_TAG[tag]].envelopes) == ("missing", 1)


def test_a_constant_in_place_of_the_value_is_found_out() -> None:
    sent = calls_to_send()
    documents = [envelope(one) for one in sent]
    for document in documents:
        document["metadata"]["benchmark_phase"] = "warm"
    (finding,) = [one for one in findings(sent, documents) if not one.ok]
    assert (finding.state, finding.under) == (
        "altered",
        ("metadata.benchmark_phase = warm", "metadata.benchmark_phase"),
    )


def test_a_tag_under_another_key_hides_nothing_in_a_dashboard() -> None:
    sent = calls_to_send()
    documents = [envelope(one) for one in sent]
    for document in documents:
        document["http"] = {"run": document["metadata"].pop("benchmark_run_id")}
    (finding,) = [one for one in findings(sent, documents) if not one.ok]
    assert (finding.header, finding.state, finding.under) == ("X-Weeyuga-Benchmark-Run-Id", "misplaced", ("http.run",))


def test_a_call_without_an_envelope_is_no_success() -> None:
    sent = calls_to_send()
    documents = [envelope(sent[0]), envelope(sent[0])]
    assert not all_seen(sent, documents)
    assert set(states(sent, documents).values()) == {"missing"}
    assert set(states(sent, []).values()) == {"missing"}


def test_a_trace_that_is_not_kept_does_no_harm() -> None:
    sent = calls_to_send()
    found = findings(sent, [envelope(one, trace={}) for one in sent])
    assert [one.header for one in found if one.state != "arrived"] == [HEADER_TRACE]
    assert all(one.ok for one in found)


def test_envelopes_are_searched_by_any_mark_that_arrived() -> None:
    sent = calls_to_send()
    clauses = query(sent)["query"]["bool"]["should"]
    marks = {(name, value) for clause in clauses for name, values in clause["terms"].items() for value in values}
    for kept in ("benchmark_run_id", "benchmark_cell_id", "trace"):
        for one in sent:
            document = {"trace": {"id": one.trace_id}} if kept == "trace" else {"metadata": {kept: one.tags[kept]}}
            assert marks & set(leaves(document)), kept


# --- the command, against the reference brain ---------------------------------------------------------------------


def check(url: str, store: Any, *options: str) -> int:
    return main(["brain", "check", "--brain", url, "--es", store.url, *options])


def test_it_is_green_on_the_reference_brain(
    golden: str, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with reference_brain(golden, tmp_path, "--es", store.url) as url:
        assert check(url, store) == 0
        told = capsys.readouterr()
        for tag, header in HEADER_OF_TAG.items():
            assert any(line.split()[0] == header and f"metadata.{tag}" in line for line in told.out.splitlines())
        assert "every tag arrived, in each of 2 envelopes" in told.err
        assert check(url, store, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["data"]["statuses"], answer["data"]["envelopes"]) == (True, [200, 200], 2)
    assert {one["state"] for one in answer["data"]["headers"]} == {"arrived"}


@pytest.mark.parametrize("header", HEADER_OF_TAG.values())
def test_it_is_red_and_names_the_header_that_a_brain_drops(
    golden: str, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], header: str
) -> None:
    with reference_brain(golden, tmp_path, "--es", store.url, "--drop-header", header) as url:
        assert check(url, store) == 1
    told = capsys.readouterr()
    assert f"1 of 6 headers do not reach the telemetry as they should: {header}" in told.err
    (row,) = [line for line in told.out.splitlines() if " missing" in line]
    assert row.startswith(header)


def test_it_waits_for_envelopes_that_come_later(golden: str, store: Any, tmp_path: Path) -> None:
    # The store turns the brain away at first, and the check's first searches too.
    store.script = [503, 503, 429, 503]
    with reference_brain(golden, tmp_path, "--es", store.url) as url:
        assert check(url, store, "--timeout", "60") == 0
    assert store.script == []


def test_a_brain_without_telemetry_is_red_when_the_time_is_up(
    golden: str, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with reference_brain(golden, tmp_path) as url:
        assert check(url, store, "--timeout", "0.5", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["data"]["envelopes"]) == (False, 0)
    assert answer["warnings"] == ["no envelope of these calls came to weeyuga-telemetry-* within 0.5 s"]


def test_the_stores_credentials_come_from_the_environment(
    golden: str, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEEYUGA_ES_API_KEY", "a2V5")
    with reference_brain(golden, tmp_path, "--es", store.url) as url:
        assert check(url, store) == 0
    assert {authorization for _, authorization in store.seen} == {"ApiKey a2V5"}


# --- wrong input --------------------------------------------------------------------------------------------------


def test_a_store_that_refuses_us_is_told_with_the_remedy(
    golden: str, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.script = [401]
    with reference_brain(golden, tmp_path) as url:
        assert check(url, store) == 2
    assert "set WEEYUGA_ES_API_KEY" in capsys.readouterr().err


def test_what_cannot_be_reached_is_named(golden: str, store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("http://127.0.0.1:9", store) == 2
    assert "error: --brain http://127.0.0.1:9: " in capsys.readouterr().err
    assert main(["brain", "check", "--brain", golden, "--es", "http://127.0.0.1:9", "--timeout", "0"]) == 2
    assert "error: --es http://127.0.0.1:9: " in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--brain", "--es"])
@pytest.mark.parametrize(("url", "words"), [("http://u:p@h", "no place for credentials"), ("h:9200", "http://")])
def test_urls_are_checked_before_anything_is_sent(
    option: str, url: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = {"--brain": "http://127.0.0.1:9", "--es": "http://127.0.0.1:9"} | {option: url}
    assert main(["brain", "check", *(text for pair in urls.items() for text in pair)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "u:p" not in said


def test_a_token_that_is_not_set_is_named(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("http://127.0.0.1:9", store, "--auth-env", "NO_SUCH_TOKEN") == 2
    assert "--auth-env NO_SUCH_TOKEN: this variable is not set" in capsys.readouterr().err


def test_an_error_of_the_brain_is_a_warning_with_what_to_look_at(
    store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with reference_brain("http://127.0.0.1:9", tmp_path, "--es", store.url) as url:
        assert check(url, store) == 0
    assert "warning: the brain answered 502: is --model one that it serves" in capsys.readouterr().err
