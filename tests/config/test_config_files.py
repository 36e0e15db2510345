"""Files that are no configuration at all: each one clear problem, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from weeyuga_core import config
from weeyuga_core.config import document
from weeyuga_core.errors import ConfigError

Write = Callable[[str | bytes], Path]
Check = Callable[[str | bytes], list[config.Problem]]


def bomb(levels: int) -> str:
    """Nested lists of aliases that mean 9 ** levels values when written out."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


FAULTY = {
    "tab": ("cells:\n\t- id: x\n", (2, 1), "use spaces"),
    "open bracket": ("cells: [\n", (2, 1), None),
    "colon in a value": ("cells: a: b\n", (1, 9), "must be quoted"),
    "open quote": ("cells: 'abc\n", (2, 1), None),
    "two documents": ("cells: []\n---\ncells: []\n", (2, 1), "remove this `---`"),
    "alias of nothing": ("cells: &abc 1\nnodes: *abd\n", (2, 8), "did you mean 'abc'?"),
    "alias of itself": ("cells: &x [1, *x]\n", (1, 15), "write the value out"),
    "anchor twice": ("a: &x 1\nb: &x 2\n", (2, 4), "a name of its own"),
    "deep": ("cells: " + "[" * 100_000, (1, 8 + document.MAX_DEPTH - 1), "is a bracket missing?"),
    "deep by aliases": (
        "a: &a0 [[]]\n" + "\n".join(f"a{n}: &a{n} [[*a{n - 1}]]" for n in range(1, 100)),
        None,
        "is a bracket missing?",
    ),
    "alias bomb": (bomb(20), None, "use fewer aliases of aliases"),
    "control character": ("cells:\n  \x1b[31m", (2, 3), "remove it"),
    "not UTF-8": (b"cells:\n  - id: a:b:\xe9\n", (2, 13), "save the file as UTF-8"),
    "UTF-16": ("cells: []".encode("utf-16"), (1, 1), "save the file as UTF-8"),
    "binary": (bytes(range(256)), None, None),
    "list": ("- a\n- b\n", (1, 1), "keys: cells, defaults, nodes, brain"),
    "scalar": ("12:30\n", (1, 1), "keys: cells, defaults, nodes, brain"),
    "null": ("~\n", (1, 1), "keys: cells, defaults, nodes, brain"),
    "tagged": ("!!set {cells}\n", (1, 1), "remove the `!`"),
    "object": ("!!python/object/apply:os.system ['true']\n", (1, 1), "keys: cells, defaults, nodes, brain"),
    "no cells": ("defaults: {}\n", (1, 1), "What is measured, in the order of measuring."),
    "empty list of cells": ("cells: []\n", (1, 8), "What is measured, in the order of measuring."),
    "merge of a scalar": ("cells: []\n<<: 5\n", (1, 8), None),
    "mapping as key": ("cells: [{? {a: 1} : 2, id: a:b:c, endpoint: http://h}]\n", (1, 12), "allowed: "),
}


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers: wheels of PyYAML without libyaml have only the slow one."""
    found = getattr(yaml, request.param, None)
    if found is None:
        pytest.skip("this PyYAML was built without libyaml")
    monkeypatch.setattr(document, "LOADER", found)
    return str(request.param)


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_file_is_a_located_problem(problems: Check, loader: str, name: str) -> None:
    text, place, help_ = FAULTY[name]
    problem = problems(text)[0]
    assert problem.line is not None
    assert problem.column is not None
    if place is not None:
        assert (problem.line, problem.column) == place
    if help_ is not None:
        assert help_ in (problem.help or "")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n...\n", b"\xef\xbb\xbf"])
def test_an_empty_file_says_so(problems: Check, text: str | bytes) -> None:
    (problem,) = problems(text)
    assert "is empty" in problem.message or "got nothing" in problem.message


def test_a_missing_file_names_init(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigErrors, match=r"cells\.yaml: no such file\n.*weeyuga-bench init"):
        config.load(tmp_path / "cells.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigErrors, match="is a directory"):
        config.load(tmp_path)


def test_a_file_that_may_not_be_read_says_why(cells_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cells_file("cells: []")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(config.ConfigErrors, match="cannot be read: Permission denied"):
        config.load(path)


def test_a_path_that_no_file_can_have_is_a_problem() -> None:
    with pytest.raises(config.ConfigErrors, match="cannot be read"):
        config.load(Path("cells\0.yaml"))


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(config.ConfigErrors, match="is larger than"):
        config.load(Path("/dev/zero"))


def test_half_a_character_is_refused_by_both_parsers(problems: Check, loader: str) -> None:
    (problem,) = problems('cells: [{id: a:b:c, endpoint: http://h, reason: "\\ud800"}]')
    assert problem.line == 1


def test_escapes_beyond_unicode_are_refused_by_both_parsers(problems: Check, loader: str) -> None:
    (problem,) = problems('cells: "\\UFFFFFFFF"')
    assert "not valid YAML" in problem.message


def test_a_number_of_a_million_digits_is_no_burden(problems: Check) -> None:
    digits = "9" * 1_000_000
    (problem,) = problems(f"cells: [{{id: a:b:c, endpoint: http://h, warm_n: {digits}}}]")
    assert len(problem.message) < 200
    (problem,) = problems("cells: [{id: a:b:c, endpoint: http://h, warm_n: 1" + ":01" * 300_000 + "}]")
    assert len(problem.message) < 200


def test_a_very_long_line_is_shown_around_the_caret(problems: Check) -> None:
    (problem,) = problems("cells: [{id: a:b:c, " + " " * 5000 + "endpoint: http://h, warm_n: x}]" + " " * 5000)
    place, line, caret = problem.render().splitlines()[1:4]
    assert place.endswith(f":1:{problem.column}")
    assert len(line) < 140
    assert line[caret.index("^")] == "x"


def test_the_caret_stands_under_wide_characters_and_tabs(problems: Check) -> None:
    (problem,) = problems('cells: [{reason: "漢字", id: a:b:c,\tendpoint: http://h, warm_n: x}]')
    line, caret = problem.render().splitlines()[2:4]
    before = line[: line.index(": x}") + 2]
    assert caret.index("^") == len(before) + 2  # two characters take two columns each
    assert "\t" not in line


def test_a_line_cannot_act_upon_the_terminal(problems: Check) -> None:
    (problem,) = problems("cells:\n  \x1b[31mred\x07\n")
    assert problem.source_line == "  \ufffd[31mred\ufffd"


WORDS = st.sampled_from(
    ["cells", "defaults", "nodes", "brain", "id", "endpoint", "launch", "server", "model", "options", "sanity", "hosts"]
    + ["timeouts", "total_s", "within", "P-EASY", "quiet_hours", "warm_n", "routes", "enabled", "a:b:c", "<<", "args"]
)
ANY_YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.integers(), inner, max_size=4),
    max_leaves=12,
)


def only_config_errors(path: Path) -> None:
    """Load a file as either kind: nothing but ConfigError may come out, and its text must encode."""
    for load in (config.load, config.load_prompts):
        try:
            load(path)
        except ConfigError as error:
            str(error).encode()


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_bring_anything_but_a_config_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)
    only_config_errors(path)


SNIPPETS = st.lists(
    st.sampled_from(
        ["cells:", "- ", "\n", "  ", "{", "}", "[", "]", ": ", ", ", "&a ", "*a", "<<", "? ", "!", "!!int ", "|\n", "'"]
        + [
            '"',
            "id",
            "a:b:c",
            "launch",
            "12:30",
            "no",
            "0123",
            "~",
            "---\n",
            "%YAML 1.1\n",
            "\t",
            "#",
            "\\ud800",
            "\x00",
        ]
    ),
    max_size=30,
).map("".join)


@pytest.mark.parametrize("parser", ["CSafeLoader", "SafeLoader"])
def test_no_yaml_like_text_brings_anything_but_a_config_error(
    tmp_path: Path, parser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "LOADER", getattr(yaml, parser, yaml.SafeLoader))

    @settings(max_examples=300, deadline=None)
    @given(text=SNIPPETS)
    def check(text: str) -> None:
        path = tmp_path / "snippets.yaml"
        path.write_text(text, encoding="utf-8")
        only_config_errors(path)

    check()


@settings(max_examples=300, deadline=None)
@given(cells=st.lists(st.dictionaries(WORDS, ANY_YAML, max_size=5), max_size=3), rest=st.dictionaries(WORDS, ANY_YAML))
def test_no_structure_brings_anything_but_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, cells: list[object], rest: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "structure.yaml"
    path.write_text(yaml.safe_dump({**rest, "cells": cells}), encoding="utf-8")
    only_config_errors(path)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_the_deepest_nesting_that_is_allowed_loads(problems: Check, opening: str, closing: str) -> None:
    above = len(["top level", "cells", "cell", "options"])
    text = "cells: [{{id: a:b:c, endpoint: http://h, options: {{x: {}1{}}}}}]"
    depth = document.MAX_DEPTH - above
    assert problems(text.format(opening * depth, closing * depth)) == []
    (problem,) = problems(text.format(opening * (depth + 1), closing * (depth + 1)))
    assert "nested deeper" in problem.message
