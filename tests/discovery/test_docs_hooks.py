"""docs/hooks.md against the hooks: each is there with its exact arguments, and the plugin printed there works."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pluggy

import weeyuga_core
from weeyuga_core import hookspecs
from weeyuga_core.cli import main, weeyuga_bench
from weeyuga_core.model.plan import RunPlan
from weeyuga_core.plugins import load

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()


def signatures() -> set[str]:
    """Every hook with its arguments, from the specifications."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return {
        f"{name}({', '.join(inspect.signature(getattr(hookspecs, name)).parameters)})" for name in vars(manager.hook)
    }


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_every_hook_has_a_section_with_its_exact_arguments():
    assert set(re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)) == signatures()


def test_every_hook_is_in_the_table_with_its_exact_arguments():
    assert set(re.findall(r"^\| `(weeyuga_.+?)` \|", PAGE, re.MULTILINE)) == signatures()


def test_every_public_name_is_told():
    public = re.findall(r"`(weeyuga_core\.[\w.]+)`", weeyuga_core.__doc__ or "")
    assert public
    assert [name for name in public if f"`{name}`" not in PAGE] == []


def test_the_printed_plugin_works(install, monkeypatch, capsys):
    project = tomllib.loads(block("toml"))
    name, version = project["project"]["name"], project["project"]["version"]
    ((entry, module),) = project["project"]["entry-points"]["weeyuga"].items()
    (requires,) = project["project"]["dependencies"]
    install(name, module, block("python"), entry=entry, version=version, requires=requires)
    monkeypatch.setattr(weeyuga_bench, "_plugins", None)
    monkeypatch.setenv("RACK", "B7")

    rows = [row for row in load().rows() if row.dist == name]
    assert [(row.kind, row.name, row.state) for row in rows] == [("command", "rack", "ok"), ("metadata", "rack", "ok")]
    assert load().run_metadata(RunPlan(cells=(), prompts=(), steps=()))[name] == {"rack": "B7"}
    assert main(["rack"]) == 0
    assert capsys.readouterr().out == "B7\n"
