"""Whether a class has the shape of a Protocol, and the one place where optional abilities are looked up.

`issubclass` refuses a Protocol that has attributes, and `isinstance` is content with a method of the right name and
the wrong arguments: either would let a faulty plugin fail in the middle of a run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any, TypeVar

from weeyuga_core.errors import PluginError

T = TypeVar("T")

# Protocols are passed as callables because mypy refuses an abstract class where a `type[T]` is asked for.


def faults(cls: type, protocol: Callable[..., object]) -> list[str]:
    """What keeps instances of a class from being used as that Protocol, each in words; empty when nothing does."""
    return [words for name in _methods(protocol) if (words := _fault(cls, protocol, name))]


def ability(adapter: object, protocol: Callable[..., T]) -> T | None:
    """The adapter (an instance, or its class) as something with that ability; None where it does not claim it.

    Raises PluginError for a claim that does not hold: the method is there, but not in the shape of the Protocol.
    """
    cls = adapter if isinstance(adapter, type) else type(adapter)
    if all(_own(cls, protocol, name) is None for name in _methods(protocol)):
        return None
    if wrong := faults(cls, protocol):
        raise PluginError(f"{title(cls)} is no {protocol_name(protocol)}: {'; '.join(wrong)}")
    return adapter  # type: ignore[return-value]  # compared with the Protocol just above, method by method


def title(cls: type) -> str:
    """A class by its import path."""
    return f"{cls.__module__}.{cls.__qualname__}"


def protocol_name(protocol: Callable[..., object]) -> str:
    """The Protocol's own name."""
    return str(vars(protocol).get("__qualname__", getattr(protocol, "__name__", protocol)))


def _methods(protocol: Callable[..., object]) -> list[str]:
    """Names of the methods a Protocol asks for; its constructor only where it declares one itself."""
    declared = vars(protocol)
    constructor = declared["__init__"].__module__ == declared["__module__"]  # else it is one that typing put there
    return ["__init__"] * constructor + [name for name in declared if not name.startswith("_")]


def _own(cls: type, protocol: Callable[..., object], name: str) -> Any:
    """What the class itself has under that name; None where it has nothing, or only the Protocol's empty body."""
    found = inspect.getattr_static(cls, name, None)
    return None if found is vars(protocol)[name] or found is object.__init__ else found


def _fault(cls: type, protocol: Callable[..., object], name: str) -> str | None:
    """What is wrong with one method, or None."""
    wanted = vars(protocol)[name]
    expected = _bound_signature(wanted)
    call = f"{name}({', '.join(expected.parameters)})"
    found = _own(cls, protocol, name)
    if found is None:
        return f"it has no {call}"
    if not (inspect.isroutine(found) or isinstance(found, classmethod | staticmethod)):
        return f"{name} is a {type(found).__name__}, not a method"
    if isinstance(wanted, classmethod) and not isinstance(found, classmethod):
        return f"{call} must be a classmethod"
    if (words := _colour(found)) != _colour(wanted):
        return f"{call} must be {_colour(wanted)}, and it is {words}"
    given = _bound_signature(found)
    return (
        None if _takes(given, tuple(expected.parameters)) else f"it takes {name}{_bare(given)} where {call} is called"
    )


def _bound_signature(method: Any) -> Signature:
    """The signature as an instance shows it: without self or cls."""
    return inspect.signature(method.__get__(object(), object) if hasattr(method, "__get__") else method)


def _colour(method: Any) -> str:
    """How a method is to be called, judged by its definition."""
    function = getattr(method, "__func__", method)
    if inspect.isasyncgenfunction(function):
        return "an async generator"
    return "an async method" if inspect.iscoroutinefunction(function) else "a plain method"


def _takes(given: Signature, names: tuple[str, ...]) -> bool:
    """Whether these arguments arrive where they belong, given by position and given by name."""
    try:
        by_position = given.bind(*names).arguments
        given.bind(**dict.fromkeys(names))
    except TypeError:
        return False
    landed = {name: value for name, value in by_position.items() if given.parameters[name].kind not in _CATCH_ALL}
    return all(name == value for name, value in landed.items())


_CATCH_ALL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def _bare(given: Signature) -> str:
    """A signature without its annotations."""
    plain = [parameter.replace(annotation=Parameter.empty) for parameter in given.parameters.values()]
    return str(given.replace(parameters=plain, return_annotation=Signature.empty))
