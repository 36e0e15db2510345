"""Every error of the files at once, each at its place, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from weeyuga_core import config
from weeyuga_core.errors import ConfigError, ExitCode

Write = Callable[[str | bytes], Path]
Check = Callable[[str | bytes], list[config.Problem]]

EIGHT_MISTAKES = """\
defaults: {warm_n: five}
cells:
  - id: mac:engine-a:qwen3.5:0.8b
    endpoint: http://127.0.0.1:11434
    options: {keep_alive: 12:30}
    digset: sha256:00
  - id: pavilion:engine-b:qwen3.5
    endpoint: http://pavilion.example:11436
    prompt_cache: disbled
  - id: mac:engine-a:qwen3.5:0.8b
    endpoint: http://127.0.0.1:11434
    endpoint: http://127.0.0.1:11435
  - id: pavilion:router:qwen3.5
    endpoint: https://cluster.example
    routes: pavilion:engine-b:qwen35
nodes: {pavilion: [quiet_hours]}
"""


def test_eight_planted_mistakes_are_eight_located_messages(problems: Check) -> None:
    found = [(p.line, p.column, p.length, p.message, p.help) for p in problems(EIGHT_MISTAKES)]
    known = (
        "id, endpoint, request_model, options, digest, engine_version, prompt_cache, launch, routes, route, auth_env, "
        "enabled, reason, parallel, warm_n, timeouts, sanity"
    )
    assert found == [
        (
            1,
            20,
            len("five"),
            "defaults.warm_n: expected a whole number, got the string 'five'",
            "write it in plain decimals, such as 5",
        ),
        (
            5,
            27,
            len("12:30"),
            "cells[0].options.keep_alive: ambiguous: 12:30, which YAML reads as the number 750",
            'quote it: "12:30"; or write a plain decimal number',
        ),
        (6, 5, len("digset"), "unknown key 'digset' in cells[0]", f"did you mean 'digest'? allowed: {known}"),
        (
            9,
            19,
            len("disbled"),
            "cells[1].prompt_cache: expected engine-default or disabled, got the string 'disbled'",
            "did you mean 'disabled'? allowed: engine-default, disabled",
        ),
        (
            10,
            9,
            len("mac:engine-a:qwen3.5:0.8b"),
            "cells[2].id: duplicate cell 'mac:engine-a:qwen3.5:0.8b'",
            "first given on line 3",
        ),
        (12, 5, len("endpoint"), "duplicate key 'endpoint' in cells[2]", "first given on line 11"),
        (
            15,
            13,
            len("pavilion:engine-b:qwen35"),
            "cells[3].routes: no cell 'pavilion:engine-b:qwen35' in this file",
            "did you mean 'pavilion:engine-b:qwen3.5'? allowed: mac:engine-a:qwen3.5:0.8b, pavilion:engine-b:qwen3.5",
        ),
        (16, 19, len("[quiet_hours]"), "nodes.pavilion: expected a mapping, got a list", "keys: quiet_hours"),
    ]


def test_the_rendering_shows_the_line_a_caret_and_the_help(cells_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(
        cells_file("cells:\n  - id: a:b:c\n    endpoint: http://h\n    prompt_cache: disbled\n    warm: 1\n").parent
    )
    with pytest.raises(config.ConfigErrors) as caught:
        config.load(Path("cells.yaml"))
    golden = Path(__file__).parent / "golden_errors.txt"
    assert f"error: {caught.value}\n" == golden.read_text(encoding="utf-8")
    assert caught.value.exit_code is ExitCode.USAGE


def test_both_files_are_checked_in_one_pass(cells_file: Write, prompts_file: Write) -> None:
    cells, prompts = cells_file("cells: 5\n"), prompts_file("P-X: {prompt: hi}\n")
    with pytest.raises(config.ConfigErrors) as caught:
        config.load(cells, prompts)
    assert [p.file for p in caught.value.problems] == [str(cells), str(prompts)]
    assert str(caught.value).endswith(f"\n1 error in {cells}, 1 error in {prompts}")


CELL = "cells: [{id: a:b:c, endpoint: http://h, %s}]"

TRAPS = {
    "engine_version: 0.6": ("expected a string, got the number 0.6", 'quote it: "0.6"'),
    "engine_version: 12:30": ("which YAML reads as the number 750", 'quote it: "12:30"'),
    "engine_version: 0123": ("which YAML reads as the number 83", 'quote it: "0123"'),
    "engine_version: no": ("got no, which YAML reads as false", 'quote it: "no"'),
    "engine_version: On": ("got On, which YAML reads as true", 'quote it: "On"'),
    "engine_version: 2026-04-28": ("which YAML reads as a date", 'quote it: "2026-04-28"'),
    "engine_version: ~": ("expected a string, got null", "where the engine cannot tell"),
    "engine_version: !x y": ("which YAML reads as a type of its own", "remove the `!`"),
    "warm_n: '7'": ("expected a whole number, got the string '7'", "write 7, without quotes"),
    "warm_n: true": ("expected a whole number, got true", "plain decimals"),
    "warm_n: 5.0": ("expected a whole number, got the number 5.0", "plain decimals"),
    "warm_n: 010": ("which YAML reads as the number 8", "plain decimals"),
    "warm_n: 1_000": ("which YAML reads as the number 1000", "plain decimals"),
    "warm_n: 99999999999999999999": ("beyond what every JSON reader keeps", "plain decimals"),
    "timeouts: {idle_s: 1e2}": ("which YAML reads as a string, not as a number", "plain decimals"),
    "timeouts: {idle_s: .inf}": ("which YAML reads as the number inf", "plain decimals"),
    "timeouts: {idle_s: 1:30}": ("which YAML reads as the number 90", "plain decimals"),
    "enabled: no": ("expected true or false, got no", "write false"),
    "enabled: 'true'": ("expected true or false, got the string 'true'", "allowed: true, false"),
    "prompt_cache: off": ("expected engine-default or disabled, got off", "write engine-default or disabled"),
    "prompt_cache: false": ("expected engine-default or disabled, got false", "write engine-default or disabled"),
    "options: {think: yes}": ("ambiguous: yes, which YAML reads as true", "write true or false"),
    "options: {day: 2026-04-28}": ("ambiguous: 2026-04-28, which YAML reads as a date", "quote it"),
    "options: {at: [12:30]}": ("options.at[0]: ambiguous: 12:30", "quote it"),
    "options: {rate: 1e-3}": ("ambiguous: 1e-3, which YAML reads as a string", "plain decimals, such as 0.001"),
    "options: {mask: 0x1F}": ("which YAML reads as the number 31", "quote it"),
    "options: {x: .nan}": ("which YAML reads as the number nan", "quote it"),
    "options: {no: 1}": ("key of cells[0].options: expected a string, got no", 'quote it: "no"'),
    "options: {x: {1: 1}}": ("key of cells[0].options.x: expected a string, got the number 1", 'quote it: "1"'),
}


@pytest.mark.parametrize("text", TRAPS)
def test_what_yaml_reads_otherwise_than_written_is_refused(problems: Check, text: str) -> None:
    message, help_ = TRAPS[text]
    (problem,) = problems(CELL % text)
    assert message in problem.message
    assert help_ in (problem.help or "")
    assert problem.line == 1


WRONG = {
    "id: x:y": "expected node:engine:label, got 'x:y'",
    "id: Mac:b:c": "'Mac' is no name for a node",
    "id: a:b c:d": "'b c' is no name for an engine",
    "id: 'a:b:'": "the label of 'a:b:' is empty",
    "warm_n: -1": "warm_n: expected a whole number of at least 0, got -1",
    "warm_n: 100001": "warm_n: expected a whole number of at most 100000, got 100001",
    "timeouts: {total_s: 0}": "timeouts.total_s: expected a number above 0, got 0",
    "timeouts: {idel_s: 1}": "unknown key 'idel_s' in cells[0].timeouts",
    "timeouts: [5]": "timeouts: expected a mapping, got a list",
    "timeouts: ": "timeouts: expected a mapping, got nothing",
    "digest: 0123": "digest: expected a string",
    "digest: sha256:abc": "digest: expected `sha256:` and 64 lower-case hex digits, got 'sha256:abc'",
    "sanity: {P-MEDUIM: {total_s: 1, within: 1}}": "sanity: no prompt 'P-MEDUIM'",
    "sanity: {P-HARD: {total_s: 1}}": "sanity.P-HARD: required key 'within' is missing",
    "routes: a:b:c": "routes: a cell cannot route to itself",
    "routes: a:b:d": "routes: no cell 'a:b:d' in this file",
    "enabled: false": "`enabled: false` needs a `reason`",
    "launch: {server: s, model: m}": "`launch` and `endpoint` exclude each other",
    "launch: {server: s, model: m, ctx: 0}": "launch.ctx: expected a whole number of at least 1, got 0",
    "launch: {server: s}": "launch: required key 'model' is missing",
    "launch: {server: s, model: m, args: [1]}": "launch.args[0]: expected a string, got the number 1",
    "launch: {server: s, model: m, args: x}": "launch.args: expected a list, got the string 'x'",
    "reason: ''": "reason: expected some text, got an empty string",
    'reason: "two\\nlines"': "reason: expected one line of printable text",
    "node: a": "unknown key 'node' in cells[0]",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_value_that_cannot_be_meant_is_named_with_its_field(problems: Check, text: str) -> None:
    base = CELL.replace("id: a:b:c, ", "") if text.startswith("id:") else CELL
    messages = [problem.message for problem in problems(base % text)]
    assert any(WRONG[text] in message for message in messages), messages
    assert len(messages) == (2 if text.startswith("launch") and "exclude" not in WRONG[text] else 1)


ENDPOINTS = {
    "127.0.0.1:11434": "did you mean `http://127.0.0.1:11434`?",
    "ftp://host": "such as `http://127.0.0.1:8080`",
    "http://": "such as `http://127.0.0.1:8080`",
    "http://host:99999": "such as `http://127.0.0.1:8080`",
    "http://host:0": None,
    "http://[::1": "such as `http://127.0.0.1:8080`",
    "http://ho st": "leave out `?`, `#` and spaces",
    "http://host/?a=1": "leave out `?`, `#` and spaces",
    "http://-host": None,
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_endpoint_is_a_base_url(problems: Check, endpoint: str) -> None:
    (problem,) = problems(f"cells: [{{id: a:b:c, endpoint: '{endpoint}'}}]")
    assert problem.message.startswith("cells[0].endpoint: ")
    assert problem.help == ENDPOINTS[endpoint]


@pytest.mark.parametrize(
    "endpoint", ["http://h", "https://h.example/prefix/v1", "http://[fe80::1]:80", "http://10.8.0.3:1"]
)
def test_good_endpoints_pass(problems: Check, endpoint: str) -> None:
    assert problems(f"cells: [{{id: a:b:c, endpoint: '{endpoint}'}}]") == []


def test_credentials_in_an_endpoint_are_refused_and_shown_nowhere(problems: Check) -> None:
    (problem,) = problems("cells:\n  - id: a:b:c\n    endpoint: https://me:s3cret@host\n")
    assert "auth_env" in (problem.help or "")
    assert "s3cret" not in problem.render() + repr(problem)
    assert problem.source_line == "    endpoint: https://*********@host"


def test_a_token_in_place_of_its_variable_is_shown_nowhere(problems: Check) -> None:
    for token in ("sk-s3cret", "'sk s3cret'", "[sk-s3cret]"):
        (problem,) = problems(CELL % f"auth_env: {token}")
        assert "s3cret" not in problem.render() + repr(problem)
        assert "environment variable" in problem.render()


@pytest.mark.parametrize(
    ("host", "help_"),
    [("https://h.example", "did you mean `h.example`?"), ("h:80", "did you mean `h`?"), ("a b", None)],
)
def test_a_brain_host_is_a_bare_name(problems: Check, host: str, help_: str | None) -> None:
    (problem,) = problems(CELL % "warm_n: 1" + f"\nbrain: {{hosts: ['{host}']}}")
    assert problem.message.startswith("brain.hosts[0]: expected a host name")
    assert problem.help == help_


@pytest.mark.parametrize("hours", ["02:00-05:00", "2-5", "24:00-05:00Z", "02:00-02:00Z", "02:60-03:00Z"])
def test_quiet_hours_are_a_window_in_utc(problems: Check, hours: str) -> None:
    (problem,) = problems(CELL % "warm_n: 1" + f"\nnodes: {{a: {{quiet_hours: '{hours}'}}}}")
    assert problem.message.startswith("nodes.a.quiet_hours: ")


def test_hours_of_a_node_that_no_cell_is_on_are_a_misspelling(problems: Check) -> None:
    (problem,) = problems("cells: [{id: pavilion:b:c, endpoint: http://h}]\nnodes: {pavillion: {}}")
    assert (problem.line, problem.column, problem.length) == (2, 9, len("pavillion"))
    assert (problem.help or "").startswith("did you mean 'pavilion'?")


def test_a_routed_cell_must_name_a_direct_one(problems: Check) -> None:
    text = """\
cells:
  - {id: a:b:direct, endpoint: http://h}
  - {id: a:b:one, endpoint: http://h, routes: a:b:direct}
  - {id: a:b:two, endpoint: http://h, routes: a:b:one}
"""
    (problem,) = problems(text)
    assert (problem.line, problem.message) == (4, "cells[2].routes: 'a:b:one' is itself routed")


def test_the_engine_behind_a_router_must_have_an_address(problems: Check) -> None:
    text = """\
cells:
  - {id: a:b:ours, launch: {server: s, model: m}}
  - {id: a:b:off, enabled: false, reason: later}
  - {id: a:r:one, endpoint: http://h, routes: a:b:ours}
  - {id: a:r:two, endpoint: http://h, routes: a:b:off}
"""
    ours, off = problems(text)
    assert (ours.line, ours.message) == (
        4,
        "cells[2].routes: 'a:b:ours' has no `endpoint`, and its engine is asked there",
    )
    assert "another port at every start" in (ours.help or "")
    assert (off.line, off.help) == (5, "say where the engine itself answers")


@pytest.mark.parametrize(
    "key", ["options: {seed: 1}", "request_model: x", "engine_version: v1", "prompt_cache: disabled"]
)
def test_a_routed_cell_says_nothing_that_the_direct_one_says(problems: Check, key: str) -> None:
    text = f"""\
cells:
  - {{id: a:b:direct, endpoint: http://h}}
  - {{id: a:r:routed, endpoint: http://r, routes: a:b:direct, {key}}}
"""
    (problem,) = problems(text)
    name = key.partition(":")[0]
    assert (problem.line, problem.length) == (3, len(name))
    assert problem.message == f"cells[1].{name}: a routed cell makes the calls of 'a:b:direct'"


def test_one_misspelt_key_is_one_problem(problems: Check) -> None:
    (problem,) = problems("cells: [{id: a:b:c, endpiont: http://h}]")
    assert problem.message == "unknown key 'endpiont' in cells[0]"
    (problem,) = problems("cells: [{id: a:b:c, endpoint: http://h, enabled: false, raeson: x}]")
    assert problem.message == "unknown key 'raeson' in cells[0]"


def test_a_cell_without_a_way_to_reach_it_is_incomplete_unless_it_is_left_out(problems: Check) -> None:
    (problem,) = problems("cells: [{id: a:b:c, enabled: true}]")
    assert problem.message == "cells[0]: `endpoint` or `launch` is missing"
    assert problems("cells: [{id: a:b:c, enabled: false, reason: later}]") == []


def test_duplicate_keys_are_found_at_any_depth_even_under_unknown_keys(problems: Check) -> None:
    found = problems(CELL % "options: {x: [{y: 1, y: 2}]}, mystery: {z: 1, z: 1}")
    assert [p.message for p in found] == [
        "duplicate key 'y' in cells[0].options.x[0]",
        "unknown key 'mystery' in cells[0]",
        "duplicate key 'z' in cells[0].mystery",
    ]


def test_prompt_ids_of_the_users_file_may_be_referred_to(cells_file: Write, prompts_file: Write) -> None:
    cells = cells_file(CELL % "sanity: {P-MINE: {total_s: 1, within: 0.5}}")
    prompts = prompts_file("P-MINE: {prompt: hello, max_tokens: 5}")
    assert config.load(cells, prompts).cells[0].sanity.keys() == {"P-MINE"}
    with pytest.raises(ConfigError, match="no prompt 'P-MINE'"):
        config.load(cells)


def test_an_unreadable_prompts_file_is_no_reason_to_doubt_prompt_ids(cells_file: Write, prompts_file: Write) -> None:
    cells = cells_file(CELL % "sanity: {P-MINE: {total_s: 1, within: 0.5}}")
    with pytest.raises(config.ConfigErrors) as caught:
        config.load(cells, prompts_file("P-MINE: {"))
    assert len(caught.value.problems) == 1
