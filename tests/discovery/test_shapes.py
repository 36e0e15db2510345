"""Whether a class has the shape of a Protocol: names, arguments, async or not."""

from __future__ import annotations

import pytest
from attrs import frozen

from weeyuga_core.errors import PluginError
from weeyuga_core.interfaces import Discovers, EngineAdapter, Launches, ResultSink, Wraps
from weeyuga_core.plugins import ability
from weeyuga_core.shapes import faults


@frozen
class Sink:
    """A sink whose constructor attrs writes."""

    target: object

    async def open(self, meta): ...

    async def deliver(self, lines, *, quickly=False): ...

    async def close(self, *args, **kwargs): ...


def test_a_class_of_the_right_shape_has_no_faults():
    assert faults(Sink, ResultSink) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"open": None}, "it has no open(meta)"),
        ({"open": 3}, "open is a int, not a method"),
        ({"open": property(lambda self: None)}, "open is a property, not a method"),
        ({"open": lambda self, meta: None}, "open(meta) must be an async method, and it is a plain method"),
        ({"__init__": lambda self: None}, "it takes __init__() where __init__(target) is called"),
        ({"__init__": lambda self, where: None}, "it takes __init__(where) where __init__(target) is called"),
        (
            {"__init__": lambda self, target, more: None},
            "it takes __init__(target, more) where __init__(target) is called",
        ),
    ],
)
def test_a_wrong_method_is_told_in_words(change, words):
    assert faults(type("Bent", (Sink,), change), ResultSink) == [words]


def test_arguments_in_another_order_are_told():
    class Swapped:
        def launch(self, port, cell): ...

    assert faults(Swapped, Launches) == ["it takes launch(port, cell) where launch(cell, port) is called"]


def test_the_empty_bodies_of_a_protocol_are_no_implementation():
    class Heir(EngineAdapter):
        def __init__(self, target, http): ...

    assert "it has no build(call)" in faults(Heir, EngineAdapter)
    assert len(faults(Heir, EngineAdapter)) == 7


def test_an_async_generator_is_no_plain_method():
    class Streams:
        async def launch(self, cell, port):
            yield cell

    assert faults(Streams, Launches) == ["launch(cell, port) must be a plain method, and it is an async generator"]


class Able:
    def launch(self, cell, port, extra=()):
        return extra

    @classmethod
    async def discover(cls, http, urls): ...


def test_an_ability_is_the_adapter_itself_or_none():
    able = Able()
    assert ability(able, Launches) is able
    assert ability(Able, Discovers) is Able
    assert ability(able, Wraps) is None


def test_a_claim_that_does_not_hold_is_refused():
    class Claims:
        async def discover(self, http, urls): ...

        def wrap(self): ...

    with pytest.raises(PluginError, match=r"Claims is no Discovers: discover\(http, urls\) must be a classmethod"):
        ability(Claims, Discovers)
    with pytest.raises(PluginError, match=r"Claims is no Wraps: it takes wrap\(\) where wrap\(inner\) is called"):
        ability(Claims(), Wraps)
