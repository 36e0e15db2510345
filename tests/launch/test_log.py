"""The end of a log, as it may be published."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.launch.log import TAIL_BYTES, TAIL_LINES, tail, without_directories

NAME = st.text("abcXYZ019._-@+é", min_size=1, max_size=8).filter(lambda name: name.strip("."))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("open /srv/models/tiny.gguf failed", "open tiny.gguf failed"),
        ("path='/srv/models/tiny.gguf', mmap=1", "path='tiny.gguf', mmap=1"),
        ("file:///srv/models/tiny.gguf", "tiny.gguf"),
        ("(/srv/a/b.py:12)", "(b.py:12)"),
        ("POST http://127.0.0.1:8080/v1/chat/completions 500", "POST http://127.0.0.1:8080/v1/chat/completions 500"),
        ("3/4 layers, 12 tokens/s", "3/4 layers, 12 tokens/s"),
    ],
)
def test_directories_go_and_the_rest_stays(text, clean):
    assert without_directories(text) == clean


def test_the_home_directory_goes_even_with_blanks_in_it(monkeypatch):
    monkeypatch.setenv("HOME", "/Users/Jo Doe")
    assert without_directories("loading /Users/Jo Doe/models/tiny.gguf") == "loading tiny.gguf"


def test_known_paths_go_even_with_blanks_in_them():
    private = ["/big disk/my models/tiny.gguf", "-c", "4096"]
    assert without_directories("no /big disk/my models/tiny.gguf here", private=private) == "no tiny.gguf here"


@given(st.lists(NAME, min_size=1, max_size=5), NAME, st.sampled_from([" ", "'", '"', "=", "(", ""]))
def test_no_directory_of_any_path_survives(directories, name, before):
    cleaned = without_directories(
        f"error{before}/{'/'.join(directories)}/{name}" if before else f"/{directories[0]}/{name}"
    )
    assert cleaned == (f"error{before}{name}" if before else name)


def test_the_tail_holds_the_last_lines_that_say_something(tmp_path):
    log = tmp_path / "server.log"
    log.write_text("".join(f"line {number}\n\n" for number in range(100)))
    assert tail(log).splitlines() == [f"line {number}" for number in range(100 - TAIL_LINES, 100)]


def test_the_tail_begins_at_this_start_and_survives_broken_text(tmp_path: Path):
    log = tmp_path / "server.log"
    log.write_bytes(b"old\n" + b"\xff\xfe new\n")
    assert tail(log, since=4) == "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} new"


def test_a_log_without_newlines_is_cut(tmp_path: Path):
    log = tmp_path / "server.log"
    log.write_text("x" * (3 * TAIL_BYTES))
    assert len(tail(log)) == TAIL_BYTES
