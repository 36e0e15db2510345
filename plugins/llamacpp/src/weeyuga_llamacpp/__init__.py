"""llama.cpp engines for weeyuga-bench: a `llama-server` of yours, or one that the harness runs itself."""

from collections.abc import Iterable

from weeyuga_core.hookspecs import Provided, hookimpl

__version__ = "0.1.0"


@hookimpl
def weeyuga_engine_adapters() -> Iterable[Provided]:
    """Offer the engine `llamacpp`."""
    return [Provided("llamacpp", "llama.cpp's llama-server", "weeyuga_llamacpp.adapter:LlamaCppAdapter")]
