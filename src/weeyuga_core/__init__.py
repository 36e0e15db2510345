"""weeyuga-bench: measure self-hosted LLM engines, with numbers that state their own error.

Public names for plugins: `weeyuga_core.hookspecs`, `weeyuga_core.interfaces`, `weeyuga_core.model`,
`weeyuga_core.errors`, `weeyuga_core.enquiry`, `weeyuga_core.loose_json`, `weeyuga_core.measure.wire`,
`weeyuga_core.chat_stream` and `weeyuga_core.testing`. Everything else may move.
"""
