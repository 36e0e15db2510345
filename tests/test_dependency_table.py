"""The house's rules of who may know whom, held against the imports as they stand."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "weeyuga_core"

FLOORS = (
    {"errors"},
    {"loose_json", "model", "provided"},
    {"enquiry", "interfaces"},
    {"hookspecs"},
    {"discovery", "shapes"},
    {"plugins"},
    {"measure", "launch", "provenance", "ledger", "config"},
    {"analysis", "chat_stream"},
    {"report"},
    {"sinks"},
    {"testing"},
    {"run", "archive"},
    {"cli"},
    {"__main__"},
)
"""Bottom up. A room imports from the floors below its own; rooms of one floor do not know each other."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

HOMES = {
    "click": {"cli"},
    "hdrh": {"analysis/stats.py"},
    "httptools": {"measure"},
    "jinja2": {"report", "archive"},
    "pluggy": {"hookspecs.py", "discovery.py", "plugins.py"},
    "rich": {"cli"},
    "yaml": {"config"},
}
"""Library -> the rooms or modules that may import it."""
DISTS = {"yaml": "pyyaml", "hdrh": "hdrhistogram"}
"""Import name -> distribution, where they differ."""

ENGINES = re.compile(r"llama|vllm|sglang|lmstudio", re.IGNORECASE)
EXEMPT = re.compile(r"env_llamacpp_url|LLAMACPP_URL_ENV|WEEYUGA_QWEN35_LLAMACPP_URL")
"""A field of the file format and the variable it records; the words came with the specification."""

MODULES = sorted(CORE.rglob("*.py"))


def imports(source: str) -> Iterator[str]:
    """Dotted names of everything a source imports, wherever in it; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative imports hide the room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    """The first part of a module's path inside the core."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def wrong_ways(room: str, source: str) -> list[str]:
    """Imports of a source in that room that point up or sideways."""
    rooms = {name.split(".")[1] for name in imports(source) if name.split(".")[0] == "weeyuga_core"}
    return sorted(other for other in rooms - {room} if FLOOR[other] >= FLOOR[room])


def strangers(path: Path, source: str) -> list[str]:
    """Libraries that a module imports outside their homes."""
    inside = path.relative_to(CORE)
    mine = {inside.as_posix(), inside.parts[0]}
    tops = {name.split(".")[0] for name in imports(source)}
    return sorted(library for library, homes in HOMES.items() if library in tops and not homes & mine)


def engine_words(text: str) -> list[str]:
    """Engines named in a text."""
    return ENGINES.findall(EXEMPT.sub("", text))


def prints(source: str) -> list[int]:
    """Lines that call print."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms <= set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(CORE).as_posix())
def test_a_module_keeps_to_its_room(path):
    source = path.read_text()
    if path.parent != CORE or path.stem != "__init__":
        assert wrong_ways(room_of(path), source) == [], "arrows point down only"
    assert strangers(path, source) == [], "each library has one home"
    if room_of(path) != "cli":
        assert prints(source) == [], "only the command line prints"


def test_the_core_names_no_engine():
    texts = [path for path in CORE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.name: words for path in texts if (words := engine_words(path.read_text(errors="replace")))} == {}


def test_the_package_itself_imports_nothing():
    assert list(imports((CORE / "__init__.py").read_text())) == []


def test_the_test_kit_imports_no_test_runner():
    kit = [path for path in MODULES if room_of(path) == "testing"]
    assert not {name.split(".")[0] for path in kit for name in imports(path.read_text())} & {"pytest", "hypothesis"}


def test_whatever_the_core_imports_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(x for extra in project.get("optional-dependencies", {}).values() for x in extra),
    ]
    declared = {match[0].lower() for line in lines if (match := re.match(r"[\w-]+", line))}
    tops = {name.split(".")[0] for path in MODULES for name in imports(path.read_text())}
    used = {DISTS.get(name, name) for name in tops - set(sys.stdlib_module_names) - {"weeyuga_core"}}
    assert used - declared == set()


def test_plugins_know_only_the_public_names_and_never_each_other():
    public = set(re.findall(r"`weeyuga_core\.([\w.]+)`", (CORE / "__init__.py").read_text()))
    assert {"hookspecs", "interfaces"} < public
    packages = {path.parent.name: path.parent for path in ROOT.glob("plugins/*/src/*/__init__.py")}
    assert packages
    for package, folder in packages.items():
        names = {name for path in folder.rglob("*.py") for name in imports(path.read_text())}
        inner = {name.removeprefix("weeyuga_core.") for name in names if name.startswith("weeyuga_core.")}
        assert {n for n in inner if not any(n == p or n.startswith(f"{p}.") for p in public)} == set(), package
        assert {name.split(".")[0] for name in names} & (set(packages) - {package}) == set(), package


# --- the rules can fail ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room", "source", "found"),
    [
        ("ledger", "from weeyuga_core.config import x", ["config"]),
        ("model", "def f():\n    from weeyuga_core import cli", ["cli"]),
        ("errors", "import weeyuga_core.model.plan", ["model"]),
        ("run", "from weeyuga_core.run.other import x\nfrom weeyuga_core import ledger, errors", []),
        ("sinks", "from weeyuga_core.run import x", ["run"]),
    ],
)
def test_arrows_that_point_up_or_sideways_are_found(room, source, found):
    assert wrong_ways(room, source) == found


def test_a_library_away_from_home_is_found():
    assert strangers(CORE / "run" / "start.py", "import click.testing\nimport yaml") == ["click", "yaml"]
    assert strangers(CORE / "analysis" / "baseline.py", "from hdrh.histogram import HdrHistogram") == ["hdrh"]
    assert strangers(CORE / "analysis" / "stats.py", "from hdrh.histogram import HdrHistogram") == []


def test_an_engine_and_a_print_are_found():
    assert engine_words("ask the Llama; env_llamacpp_url") == ["Llama"]
    assert prints("x = 1\nif x:\n    print(x)\n") == [3]
