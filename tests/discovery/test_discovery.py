"""What is found among installed distributions, and what is refused, in which words."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.discovery import in_range, required_range
from weeyuga_core.errors import PluginError
from weeyuga_core.model.plan import RunPlan
from weeyuga_core.plugins import PluginRow, load

PLAN = RunPlan(cells=(), prompts=(), steps=())
HEAD = "from weeyuga_core.hookspecs import Provided, hookimpl\n"
ADAPTER = """
class Adapter:
    def __init__(self, target, http): ...
    async def health(self): ...
    async def engine_version(self): ...
    async def model_digest(self): ...
    async def make_cold(self): ...
    def build(self, call): ...
    def events(self, reply): yield from ()
    def prove_cold(self, claim, events): ...
"""


def engine(name: str, target: str) -> str:
    return (
        f"{HEAD}@hookimpl\ndef weeyuga_engine_adapters():\n    return [Provided({name!r}, 'for a test', {target!r})]\n"
    )


def hook(signature: str, body: str) -> str:
    return f"{HEAD}@hookimpl\ndef {signature}:\n    {body}\n"


def row_of(dist: str) -> PluginRow:
    (row,) = [row for row in load().rows() if row.dist == dist]
    return row


def test_a_good_engine_is_listed_and_its_class_is_loaded_only_when_asked_for(install):
    install("acme-fast", "acme_fast", engine("fast", "acme_fast_adapter:Adapter"), requires="weeyuga-bench>=0.1,<2")
    found = load()
    assert row_of("acme-fast") == PluginRow(
        "fast", "engine", "acme-fast", "1.0", ">=0.1,<2", state="ok", detail="for a test"
    )
    assert found.engines()["fast"] == "for a test"
    assert found.engine_dist("fast") == ("acme-fast", "1.0")
    with pytest.raises(PluginError, match="acme_fast_adapter:Adapter cannot be loaded: ModuleNotFoundError"):
        found.engine("fast")
    install("acme-adapter", "acme_fast_adapter", ADAPTER)
    assert found.engine("fast").__name__ == "Adapter"


def test_one_entry_point_name_in_two_distributions_is_refused_with_both_named(install):
    install("acme-one", "acme_one", engine("one", "acme_one:A"), entry="same")
    install("acme-two", "acme_two", engine("two", "acme_two:A"), entry="same", version="2.0")
    for dist in ("acme-one", "acme-two"):
        row = row_of(dist)
        assert (row.name, row.kind, row.state) == ("same", "plugin", "broken")
        assert "acme-one 1.0" in row.detail
        assert "acme-two 2.0" in row.detail
        assert "pip uninstall acme-one or pip uninstall acme-two" in row.detail
    assert not {"one", "two"} & set(load().engines())


def test_one_engine_name_in_two_distributions_is_refused_with_both_named(install):
    install("acme-one", "acme_one", engine("same", "acme_one:A"))
    install("acme-two", "acme_two", engine("same", "acme_two:A"))
    assert row_of("acme-one").state == row_of("acme-two").state == "broken"
    with pytest.raises(PluginError, match=r"acme-one 1\.0 and by acme-two 1\.0; remove one: pip uninstall acme-one or"):
        load().engine("same")


def test_a_plugin_that_takes_a_sink_name_of_the_core_is_told_apart_from_it(install):
    core = sorted(load().sinks())
    assert core, "the core registers its own sinks through the hook"
    body = f"return [Provided({core[0]!r}, 'mine', 'acme_sink:Sink')]"
    install("acme-sink", "acme_sink", hook("weeyuga_result_sinks()", body))
    with pytest.raises(PluginError, match=r"remove one: pip uninstall acme-sink$"):
        load().sink(core[0])


def test_a_misspelt_hook_is_refused_with_the_nearest_one(install):
    install("acme-typo", "acme_typo", hook("weeyuga_engine_adaptors()", "return []"))
    assert (
        "there is no hook weeyuga_engine_adaptors (did you mean weeyuga_engine_adapters?)" in row_of("acme-typo").detail
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import acme_needs_this\n", "cannot be imported: ModuleNotFoundError: No module named 'acme_needs_this'"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
        ("", "it implements no hook"),
        ("def weeyuga_engine_adapters():\n    return []\n", "weeyuga_engine_adapters is not marked with @hookimpl"),
        (hook("weeyuga_run_metadata(plan, cells)", "return {}"), "wrong signature: .*weeyuga_run_metadata.*cells"),
        (hook("weeyuga_engine_adapters()", "return 1 / 0"), "weeyuga_engine_adapters failed: ZeroDivisionError"),
        (hook("weeyuga_engine_adapters()", "yield 1 / 0"), "weeyuga_engine_adapters failed: ZeroDivisionError"),
        (hook("weeyuga_engine_adapters()", "pass"), "TypeError: 'NoneType' object is not iterable"),
        (hook("weeyuga_engine_adapters()", "return ['x']"), "gave 'x', which is not a Provided"),
        (engine("Bad Name", "m:A"), "gave the name 'Bad Name'; names match"),
        (engine("bad", "module.Adapter"), "the target 'module.Adapter'.*package.module:attribute"),
        (engine("bad", "mod-ule:Adapter"), "the target 'mod-ule:Adapter'"),
        (
            f"{HEAD}@hookimpl\nasync def weeyuga_engine_adapters():\n    return []\n",
            "plain functions, and this one is async",
        ),
        (
            hook("weeyuga_engine_adapters()", "return []")
            + "@hookimpl(specname='weeyuga_engine_adapters')\ndef more():\n    return []\n",
            "it implements weeyuga_engine_adapters twice",
        ),
        (f"{HEAD}@hookimpl(wrapper=True)\ndef weeyuga_engine_adapters():\n    return (yield)\n", "is a hook wrapper"),
    ],
)
def test_a_faulty_plugin_is_broken_in_these_words_and_costs_no_other_plugin_its_place(install, code, words):
    install("acme-faulty", "acme_faulty", code)
    install("acme-sound", "acme_sound", engine("sound", "acme_sound:A"))
    row = row_of("acme-faulty")
    assert row.state == "broken"
    assert re.search(words, row.detail), row.detail
    assert row_of("acme-sound").state == "ok"


def test_one_module_behind_two_entry_points_is_used_once(install):
    for dist in ("acme-one", "acme-two"):
        install(dist, "acme_shared", engine("shared", "acme_shared:A"))
    states = {dist: row_of(dist).state for dist in ("acme-one", "acme-two")}
    assert sorted(states.values()) == ["broken", "ok"]
    (broken,) = [dist for dist, state in states.items() if state == "broken"]
    assert "the same module is already registered under another name" in row_of(broken).detail


def test_a_broken_plugin_fails_whoever_needs_it_by_name_and_nobody_else(install):
    install("weeyuga-bench-acme", "acme_faulty", "import acme_needs_this\n", entry="whatever")
    with pytest.raises(
        PluginError, match=r"engine 'acme': its plugin weeyuga-bench-acme 1\.0 is broken: cannot be imp"
    ):
        load().engine("acme")


def test_an_unknown_engine_says_what_is_there_what_to_type_and_which_plugins_are_broken(install):
    install("acme-fast", "acme_fast", engine("fastest", "acme_fast:Adapter"))
    install("acme-faulty", "acme_faulty", "import acme_needs_this\n")
    with pytest.raises(PluginError) as caught:
        load().engine("fastes")
    words = str(caught.value)
    assert "no engine 'fastes' is installed; installed: " in words
    assert "did you mean 'fastest'? If not: pip install weeyuga-bench-fastes" in words
    assert "note: acme-faulty 1.0 is broken: cannot be imported" in words


def test_a_version_range_that_leaves_the_core_out_breaks_the_plugin(install):
    install("acme-new", "acme_new", engine("new", "acme_new:A"), requires="weeyuga-bench>=99")
    row = row_of("acme-new")
    assert (row.api, row.state) == (">=99", "broken")
    assert f"requires weeyuga-bench >=99, and {metadata.version('weeyuga-bench')} is installed" in row.detail


def test_metadata_is_kept_apart_by_distribution(install):
    install("acme-meta", "acme_meta", hook("weeyuga_run_metadata(plan)", "return {'cells': len(plan.cells)}"))
    install("acme-lazy", "acme_lazy", hook("weeyuga_run_metadata()", "return {'seen': True}"))
    assert row_of("acme-meta").kind == "metadata"
    said = load().run_metadata(PLAN)
    assert (said["acme-meta"], said["acme-lazy"]) == ({"cells": 0}, {"seen": True})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('no disk')", "RuntimeError: no disk"),
        ("return ['a']", "it returned a list, not a mapping"),
        ("return {'a': object()}", "not JSON serializable"),
        ("return {'a': float('nan')}", "not JSON compliant"),
    ],
)
def test_unusable_metadata_names_the_distribution(install, body, words):
    install("acme-meta", "acme_meta", hook("weeyuga_run_metadata(plan)", body))
    with pytest.raises(PluginError, match=f"weeyuga_run_metadata of acme-meta 1.0 failed: .*{words}"):
        load().run_metadata(PLAN)


def test_an_adapter_of_the_wrong_shape_is_refused_before_use(install):
    code = ADAPTER.replace("async def health", "def health").replace("build(self, call)", "build(self, call, more)")
    install("acme-bent", "acme_bent", engine("bent", "acme_bent:Adapter") + code)
    with pytest.raises(PluginError) as caught:
        load().engine("bent")
    words = str(caught.value)
    assert "engine 'bent' of acme-bent 1.0: acme_bent:Adapter is no EngineAdapter" in words
    assert "health() must be an async method, and it is a plain method" in words
    assert "it takes build(call, more) where build(call) is called" in words


def test_a_target_that_is_no_class_is_refused(install):
    install("acme-odd", "acme_odd", engine("odd", "acme_odd:weeyuga_engine_adapters"))
    with pytest.raises(PluginError, match="acme_odd:weeyuga_engine_adapters is not a class"):
        load().engine("odd")


def test_a_command_of_the_core_cannot_be_taken_over(install):
    body = "return [Provided('run', 'mine', 'acme_cmd:run'), Provided('dance', 'mine', 'acme_cmd:dance')]"
    install("acme-cmd", "acme_cmd", hook("weeyuga_cli_commands()", body) + "dance = 42\n")
    found = load(reserved_commands={"run"})
    assert found.commands()["dance"] == "mine"
    assert "run" not in found.commands()
    assert found.command("dance") == 42
    with pytest.raises(
        PluginError, match=r"'run' of acme-cmd 1\.0 is weeyuga-bench's own; remove it: pip uninstall acme"
    ):
        found.command("run")


def test_extra_plugins_need_no_installation():
    class Mine:
        pass

    assert [row.detail for row in load([("mine", Mine())]).rows() if row.dist == "mine"] == [
        "it implements no hook (the hooks are weeyuga_cli_commands, weeyuga_engine_adapters, weeyuga_result_sinks, "
        "weeyuga_run_metadata)"
    ]


def test_each_load_looks_anew(install):
    before = load()
    install("acme-late", "acme_late", engine("late", "acme_late:A"))
    assert "late" in load().engines()
    assert "late" not in before.engines()


@pytest.mark.parametrize(
    ("requirement", "api"),
    [
        ("weeyuga-bench", "any"),
        ("weeyuga-bench>=0.1,<0.2", ">=0.1,<0.2"),
        ("Weeyuga_Bench (>=0.1)", ">=0.1"),
        ("weeyuga.bench[extra] ~=0.1 ; python_version > '3'", "~=0.1"),
        ("weeyuga-bench-other>=3", None),
        ("attrs>=24", None),
    ],
)
def test_the_api_version_is_the_range_required_of_the_core(requirement, api):
    assert required_range(["httpx>=0.28", requirement]) == api


@pytest.mark.parametrize("bounds", [">=1;x", "===1.0", "@ file:x", ">=1.*.2"])
def test_a_range_that_is_more_than_bounds_is_refused(bounds):
    with pytest.raises(PluginError, match="cannot read the range"):
        in_range("0.1.0", bounds)


NUMBERS = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
BOUND = st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS).map("".join)
STAR = st.tuples(st.sampled_from(["==", "!="]), NUMBERS, st.just(".*")).map("".join)
FAMILY = st.tuples(st.just("~="), NUMBERS.filter(lambda text: "." in text)).map("".join)


@given(version=NUMBERS, clauses=st.lists(BOUND | STAR | FAMILY, min_size=1, max_size=3))
def test_ranges_mean_what_the_packaging_standard_says(version, clauses):
    packaging = pytest.importorskip("packaging.specifiers", reason="packaging, which pytest brings, is the reference")
    bounds = ",".join(clauses)
    assert in_range(version, bounds) == packaging.SpecifierSet(bounds).contains(version)
