"""weeyuga-bench: measure self-hosted LLM engines, with numbers that state their own error.

Public names for plugins: `weeyuga_core.hookspecs`, `weeyuga_core.interfaces`, `weeyuga_core.model`,
`weeyuga_core.errors`, `weeyuga_core.measure.wire` and `weeyuga_core.testing`. Everything else may move.
"""
