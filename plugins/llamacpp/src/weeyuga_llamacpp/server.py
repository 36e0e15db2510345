#!/usr/bin/env python3
"""The llama.cpp server inside the xllamacpp wheel, behind `llama-server`'s own flag names.

    python -m weeyuga_llamacpp.server --model FILE --port 8080 -c 4096

It stands in wherever a `llama-server` binary is expected and understands the flags that shape a measurement; a flag
it does not understand is an error, never passed over. It says when it is ready and ends on SIGTERM.
Only the standard library and xllamacpp are imported: what this file loads is part of a cell's start-up time.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = "weeyuga-llama-server"
GGUF_MAGIC = b"GGUF"
DRAIN_S = 1.0
"""After SIGTERM the engine waits for open streams to end; after this long it is not waited for."""
USAGE = 2
"""Exit code for flags or a model file that cannot be meant."""
FAILED = 1

ON_OFF_AUTO = {"on": 1, "off": 0, "auto": -1}
LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2}
REASONING_FORMATS = {"none": 0, "auto": 1, "deepseek-legacy": 2, "deepseek": 3}
CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""The engine's own numbers of these words."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    options = vars(parser().parse_args(arguments))
    model = Path(options.pop("model"))
    if wrong := what_is_wrong_with(model):
        return _complain(wrong, USAGE)
    try:
        import xllamacpp
    except ImportError as error:
        return _complain(
            f"xllamacpp cannot be imported ({error}): pip install 'weeyuga-bench-llamacpp[embedded]'", FAILED
        )
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    configure(params, options)
    try:
        # Until the model is loaded SIGTERM keeps its default action: no Python code runs in there that could react.
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        return _complain(f"the engine does not start: {error}", FAILED)
    ending = _ending_signal()
    _say(f"ready: listening on {server.listening_address}")
    ending.wait()
    _leave_after(DRAIN_S)
    del server
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags. The name of each value is the engine parameter it sets; dots lead into its parts."""
    flags = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s --model FILE [flags of llama-server]",
        description="The llama.cpp server of the xllamacpp wheel.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    flags.add_argument("--version", action=_Version, nargs=0, help="print the engine's version and exit")

    def value(to: str, *names: str, read: Callable[[str], Any] = int) -> None:
        flags.add_argument(*names, dest=to, type=read, metavar="X")

    def switch(to: str, *names: str) -> None:
        flags.add_argument(*names, dest=to, action=argparse.BooleanOptionalAction)

    flags.add_argument("-m", "--model", dest="model", required=True, metavar="FILE", help="the model, a GGUF file")
    value("hostnames", "--host", read=lambda text: [text])
    value("port", "--port")
    value("model_alias", "-a", "--alias", read=lambda text: {text})
    value("n_ctx", "-c", "--ctx-size")
    value("n_parallel", "-np", "--parallel")
    value("n_batch", "-b", "--batch-size")
    value("n_ubatch", "-ub", "--ubatch-size")
    value("n_predict", "-n", "--predict", "--n-predict")
    value("n_keep", "--keep")
    value("cpuparams.n_threads", "-t", "--threads")
    value("cpuparams_batch.n_threads", "-tb", "--threads-batch")
    value("n_threads_http", "--threads-http")
    value("n_gpu_layers", "-ngl", "--gpu-layers", "--n-gpu-layers", read=_layers)
    value("main_gpu", "-mg", "--main-gpu")
    value("fit_params", "-fit", "--fit", read=_word({"on": True, "off": False}))
    value("flash_attn_type", "-fa", "--flash-attn", read=_word(ON_OFF_AUTO))
    value("load_mode", "--load-mode", read=_word(LOAD_MODES))
    value("cache_type_k", "-ctk", "--cache-type-k", read=_word(CACHE_TYPES))
    value("cache_type_v", "-ctv", "--cache-type-v", read=_word(CACHE_TYPES))
    value("cache_ram_mib", "-cram", "--cache-ram")
    value("n_cache_reuse", "--cache-reuse")
    value("slot_prompt_similarity", "-sps", "--slot-prompt-similarity", read=float)
    value("sleep_idle_seconds", "--sleep-idle-seconds")
    value("sse_ping_interval", "--sse-ping-interval")
    value("sampling.seed", "-s", "--seed")
    value("chat_template", "--chat-template", read=str)
    value("chat_template", "--chat-template-file", read=_text_of)
    value("reasoning_format", "--reasoning-format", read=_word(REASONING_FORMATS))
    value("enable_reasoning", "-rea", "--reasoning", read=_word(ON_OFF_AUTO))
    value("sampling.reasoning_budget_tokens", "--reasoning-budget")
    value("sampling.reasoning_budget_message", "--reasoning-budget-message", read=str)
    value("verbosity", "-lv", "--verbosity", "--log-verbosity")
    switch("use_jinja", "--jinja")
    switch("cache_prompt", "--cache-prompt")
    switch("kv_unified", "-kvu", "--kv-unified")
    switch("ctx_shift", "--context-shift")
    switch("swa_full", "--swa-full")
    switch("warmup", "--warmup")
    switch("cont_batching", "-cb", "--cont-batching")
    switch("endpoint_slots", "--slots")
    switch("endpoint_metrics", "--metrics")
    switch("endpoint_props", "--props")
    switch("embedding", "--embedding", "--embeddings")
    switch("offline", "--offline")
    switch("ui", "--ui", "--webui")
    # The look of the log, which cannot be changed here; the engines that start this file for themselves set it.
    switch("", "--log-prefix")
    switch("", "--log-timestamps")
    return flags


def configure(params: Any, options: Mapping[str, Any]) -> None:
    """Set the engine's parameters; those without a flag keep the engine's defaults."""
    options = {"cpuparams_batch.n_threads": options.get("cpuparams.n_threads"), **options}
    for path, value in options.items():
        if path and value is not None:
            *parts, name = path.split(".")
            owner = params
            for part in parts:
                owner = getattr(owner, part)
            setattr(owner, name, value)


def what_is_wrong_with(model: Path) -> str | None:
    """Why this file cannot be a model, in words without its directory; None when it may be one."""
    try:
        with model.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        return f"model {model.name} cannot be read: {error.strerror}"
    if magic != GGUF_MAGIC:
        return f"model {model.name} is not a GGUF file: it begins with {magic!r}, not {GGUF_MAGIC!r}"
    return None


def _word(meanings: Mapping[str, Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text not in meanings:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(meanings)}")
        return meanings[text]

    return read


def _layers(text: str) -> int:
    words = {"auto": -1, "all": -2}
    return words[text] if text in words else int(text)


def _text_of(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{Path(name).name} cannot be read: {error}") from error


class _Version(argparse.Action):
    def __call__(self, flags: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            flags.exit(0, f"xllamacpp {version('xllamacpp')}\n")
        except PackageNotFoundError:
            flags.exit(FAILED, "xllamacpp is not installed\n")


def _ending_signal() -> threading.Event:
    """Set when SIGTERM or SIGINT comes."""
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ending.set())
    return ending


def _leave_after(seconds: float) -> None:
    """End the process then, whatever still waits for a stream to end."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _say(words: str) -> None:
    sys.stderr.write(f"{PROGRAM}: {words}\n")
    sys.stderr.flush()


def _complain(words: str, code: int) -> int:
    _say(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
