"""How benchmark traffic is tagged."""

from hashlib import sha256

from weeyuga_core.model import tags

CALL = {
    "run_id": "4e2a",
    "seq": 7,
    "cell_id": "mac:brain-routed:m",
    "prompt_id": "P-EASY",
    "phase": "warm",
    "run_idx": 3,
}


def test_a_call_is_tagged_with_these_headers_and_no_other() -> None:
    digest = sha256(b"4e2a|7").hexdigest()
    assert tags.call_headers(**CALL) == {
        "X-Weeyuga-Test": "true",
        "X-Weeyuga-Benchmark-Run-Id": "4e2a",
        "X-Weeyuga-Benchmark-Cell-Id": "mac:brain-routed:m",
        "X-Weeyuga-Benchmark-Prompt-Id": "P-EASY",
        "X-Weeyuga-Benchmark-Phase": "warm",
        "X-Weeyuga-Benchmark-Run-Idx": "3",
        "traceparent": f"00-{digest[:32]}-{digest[32:48]}-00",
    }


def test_every_tag_header_has_its_key_in_telemetry() -> None:
    tagged = set(tags.call_headers(**CALL)) - {tags.HEADER_TRACE}
    assert set(tags.HEADER_OF_TAG.values()) == tagged
    assert list(tags.HEADER_OF_TAG) == [
        "test",
        "benchmark_run_id",
        "benchmark_cell_id",
        "benchmark_prompt_id",
        "benchmark_phase",
        "benchmark_run_idx",
    ]
