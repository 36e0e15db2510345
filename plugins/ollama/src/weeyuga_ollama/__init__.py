"""Ollama for weeyuga-bench: models of a running Ollama, unloaded for every cold call."""

from collections.abc import Iterable

from weeyuga_core.hookspecs import Provided, hookimpl

__version__ = "0.1.0"


@hookimpl
def weeyuga_engine_adapters() -> Iterable[Provided]:
    """Offer the engine `ollama`."""
    return [Provided("ollama", "a running Ollama", "weeyuga_ollama.adapter:OllamaAdapter")]
