"""What a good cells.yaml becomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from weeyuga_core import config
from weeyuga_core.model.plan import Launch, Sanity, Timeouts

Write = Callable[[str | bytes], Path]

DIGEST = "sha256:" + "0123456789abcdef" * 4

EXAMPLE = f"""\
defaults: {{warm_n: 7, timeouts: {{connect_s: 5, total_s: 300}}, options: {{seed: 1, think: true}}}}
cells:
  - id: mac:engine-a:qwen3.5:0.8b
    endpoint: http://127.0.0.1:11434/
    options: {{temperature: 0, think: false, num_ctx: 4096, stop: ["a", 1, null], extra: {{deep: {{er: 0.5}}}}}}
    sanity: {{P-MEDIUM: {{total_s: 30.5, within: 0.5}}}}
  - id: pavilion:engine-b:qwen3.5-9b@ngl6,ctx8k
    request_model: qwen3.5-9b
    endpoint: http://pavilion.example:11436
    digest: {DIGEST}
    engine_version: b6123
    prompt_cache: disabled
    warm_n: 0
    timeouts: {{total_s: 12.5}}
  - id: local:engine-b:smollm2-135m
    launch: {{server: some-server, model: models/smollm2.gguf, ctx: 4096, threads: 2, ngl: 0, parallel: 1, args: [-x]}}
  - id: pavilion:router:qwen3.5:0.8b
    endpoint: https://cluster.example
    routes: mac:engine-a:qwen3.5:0.8b
    auth_env: BRAIN_TOKEN
  - {{id: predator:engine-b:qwen3.5:0.8b, endpoint: "http://[::1]:8080", enabled: false, reason: pending install}}
nodes: {{pavilion: {{quiet_hours: "02:00-05:00Z"}}}}
brain: {{hosts: [cluster.example]}}
"""


@pytest.fixture
def loaded(cells_file: Write) -> config.Config:
    return config.load(cells_file(EXAMPLE))


def test_the_id_is_split_on_its_first_two_colons(loaded: config.Config) -> None:
    cell = loaded.cells[0]
    assert (cell.node, cell.engine, cell.label) == ("mac", "engine-a", "qwen3.5:0.8b")
    assert cell.model_name == "qwen3.5:0.8b"
    assert loaded.cells[1].model_name == "qwen3.5-9b"


def test_defaults_hold_unless_the_cell_says_otherwise_key_by_key(loaded: config.Config) -> None:
    plain, changed = loaded.cells[0], loaded.cells[1]
    assert (plain.warm_n, changed.warm_n) == (7, 0)
    assert plain.timeouts == Timeouts(connect_s=5, total_s=300)
    assert changed.timeouts == Timeouts(connect_s=5, total_s=12.5)
    assert plain.options == {
        "seed": 1,
        "think": False,
        "temperature": 0,
        "num_ctx": 4096,
        "stop": ["a", 1, None],
        "extra": {"deep": {"er": 0.5}},
    }
    assert changed.options == {"seed": 1, "think": True}


def test_whole_numbers_stay_whole_in_options(loaded: config.Config) -> None:
    assert [type(value) for value in loaded.cells[0].options.values()] == [int, bool, int, int, list, dict]


def test_every_other_key_arrives(loaded: config.Config) -> None:
    mac, pavilion, local, routed, predator = loaded.cells
    assert mac.endpoint == "http://127.0.0.1:11434"
    assert mac.sanity == {"P-MEDIUM": Sanity(total_s=30.5, within=0.5)}
    assert (pavilion.digest, pavilion.engine_version, pavilion.prompt_cache) == (DIGEST, "b6123", "disabled")
    assert (routed.routes, routed.auth_env) == (mac.id, "BRAIN_TOKEN")
    assert (predator.enabled, predator.reason) == (False, "pending install")
    assert local.endpoint is None
    assert loaded.brain_hosts == ("cluster.example",)
    assert loaded.quiet_hours == {"pavilion": "02:00-05:00Z"}


def test_a_routed_cell_takes_over_what_its_calls_are_made_of(loaded: config.Config) -> None:
    mac, routed = loaded.cells[0], loaded.cells[3]
    assert routed.options == mac.options
    assert routed.request_model == mac.model_name == mac.label
    assert (routed.digest, routed.engine_version, routed.prompt_cache) == (None, None, "engine-default")
    assert (routed.endpoint, routed.warm_n) == ("https://cluster.example", 7)


def test_paths_of_a_launch_begin_at_the_folder_of_the_file(loaded: config.Config) -> None:
    folder = loaded.cells_path.parent.resolve()
    assert loaded.cells[2].launch == Launch(
        server="some-server",
        model=str(folder / "models/smollm2.gguf"),
        ctx=4096,
        threads=2,
        ngl=0,
        parallel=1,
        args=("-x",),
    )


def test_a_server_with_a_slash_is_a_path_and_dots_are_folded(
    cells_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cells_file("cells: [{id: a:b:c, launch: {server: bin/../s, model: ../m.gguf}}]")
    monkeypatch.chdir(path.parent)
    launch = config.load(Path("cells.yaml")).cells[0].launch
    assert launch is not None
    assert launch.server == str(path.parent.resolve() / "s")
    assert launch.model == str(path.parent.parent.resolve() / "m.gguf")


def test_a_home_folder_is_expanded_and_an_unknown_one_is_left(
    cells_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/of-mine")
    path = cells_file("cells: [{id: a:b:c, launch: {server: ~no-such-user-here/s, model: ~/m.gguf}}]")
    launch = config.load(path).cells[0].launch
    assert launch is not None
    assert launch.model == "/home/of-mine/m.gguf"
    assert launch.server == str(path.parent.resolve() / "~no-such-user-here/s")


def test_a_link_to_a_model_keeps_its_name(cells_file: Write, tmp_path: Path) -> None:
    (tmp_path / "current.gguf").symlink_to(tmp_path / "blob")
    cell = config.load(cells_file("cells: [{id: a:b:c, launch: {server: s, model: current.gguf}}]")).cells[0]
    assert cell.launch is not None
    assert Path(cell.launch.model).name == "current.gguf"


def test_anchors_and_merge_keys_are_written_out_and_own_keys_win(cells_file: Write) -> None:
    text = """\
cells:
  - &first {id: a:b:one, endpoint: http://h, warm_n: 1, options: &o {x: 1}}
  - {<<: *first, id: a:b:two, warm_n: 2}
  - {<<: [{warm_n: 3}, *first], id: a:b:three, options: *o}
"""
    cells = config.load(cells_file(text)).cells
    assert [(c.id, c.endpoint, c.warm_n, c.options) for c in cells] == [
        ("a:b:one", "http://h", 1, {"x": 1}),
        ("a:b:two", "http://h", 2, {"x": 1}),
        ("a:b:three", "http://h", 3, {"x": 1}),
    ]


def test_a_byte_order_mark_and_other_line_ends_change_nothing(cells_file: Write) -> None:
    text = "cells:\n  - id: a:b:c\n    endpoint: http://h\n"
    plain = config.load(cells_file(text)).cells
    assert config.load(cells_file(b"\xef\xbb\xbf" + text.encode())).cells == plain
    assert config.load(cells_file(text.replace("\n", "\r\n"))).cells == plain


def test_the_shipped_example_is_the_cell_of_the_demonstration() -> None:
    path = Path(__file__).parents[2] / "examples/local/cells.yaml"
    (cell,) = config.load(path).cells
    assert cell.id == "local:llamacpp:smollm2-135m"
    assert cell.options == {"temperature": 0, "seed": 1}
    assert cell.launch is not None
    assert Path(cell.launch.model) == path.parents[2].resolve() / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
