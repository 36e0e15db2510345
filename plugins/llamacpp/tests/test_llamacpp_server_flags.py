"""The flags of the embedded server, without starting it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from weeyuga_llamacpp import server

PASSED_BY_OTHER_ENGINES = (
    "--model m.gguf --port 1 --host 127.0.0.1 --no-webui --offline -c 4096 -np 1 --log-verbosity 4 --no-log-prefix "
    "--no-log-timestamps --no-jinja --chat-template chatml --load-mode none --flash-attn auto -b 512 -ub 512 "
    "--context-shift --keep 4"
)
"""What a scheduler that starts a `llama-server` of its own has been seen to pass."""


def options(line):
    return vars(server.parser().parse_args(line.split()))


def configured(line):
    params = SimpleNamespace(cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace(), sampling=SimpleNamespace())
    chosen = options(line)
    del chosen["model"]
    server.configure(params, chosen)
    return params


def test_the_flags_of_a_foreign_scheduler_are_understood():
    params = configured(PASSED_BY_OTHER_ENGINES)
    assert (params.n_ctx, params.n_parallel, params.n_batch, params.n_ubatch, params.n_keep) == (4096, 1, 512, 512, 4)
    assert (params.use_jinja, params.chat_template, params.ctx_shift, params.ui) == (False, "chatml", True, False)
    assert (params.load_mode, params.flash_attn_type, params.hostnames) == (0, -1, ["127.0.0.1"])


def test_what_is_not_asked_for_keeps_the_engines_default():
    params = configured("-m m.gguf")
    assert set(vars(params)) == {"cpuparams", "cpuparams_batch", "sampling"}
    assert not vars(params.cpuparams_batch)


def test_threads_hold_for_prompts_too_unless_told_otherwise():
    assert configured("-m m -t 3").cpuparams_batch.n_threads == 3
    assert configured("-m m -t 3 -tb 5").cpuparams_batch.n_threads == 5


@pytest.mark.parametrize(("text", "layers"), [("12", 12), ("auto", -1), ("all", -2), ("0", 0)])
def test_layers_are_a_number_or_a_word(text, layers):
    assert configured(f"-m m -ngl {text}").n_gpu_layers == layers


def test_an_alias_with_commas_is_one_name():
    assert configured("-m m --alias a,b").model_alias == {"a,b"}


def test_a_template_may_come_from_a_file(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ é }}", encoding="utf-8")
    assert configured(f"-m m --chat-template-file {tmp_path / 't.jinja'}").chat_template == "{{ é }}"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "required: -m/--model"),
        ("-m m --lora x", "unrecognized arguments: --lora x"),
        ("-m m --flash-attn maybe", "'maybe' is none of on, off, auto"),
        ("-m m -ngl some", "invalid _layers value"),
        ("-m m --ctx 5", "unrecognized arguments: --ctx 5"),
        ("-m m --chat-template-file /no/such.jinja", "such.jinja cannot be read"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_refused(line, words, capsys):
    with pytest.raises(SystemExit) as left:
        options(line)
    assert left.value.code == 2
    assert words in capsys.readouterr().err


def test_the_engine_has_every_parameter_that_a_flag_sets():
    params = pytest.importorskip("xllamacpp", reason="xllamacpp is not installed").CommonParams()
    for action in server.parser()._actions:
        owner = params
        for part in action.dest.split(".") if action.dest not in ("help", "version", "", "model") else ():
            owner = getattr(owner, part)


def test_every_word_has_the_number_that_the_engine_gives_it():
    engine = pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    for words, numbers, prefix in (
        (server.CACHE_TYPES, engine.ggml_type, "GGML_TYPE_"),
        (server.LOAD_MODES, engine.llama_load_mode, "LLAMA_LOAD_MODE_"),
        (server.REASONING_FORMATS, engine.common_reasoning_format, "COMMON_REASONING_FORMAT_"),
    ):
        for word, number in words.items():
            assert number == numbers[prefix + word.upper().replace("-", "_")].value
    flash = engine.llama_flash_attn_type
    for word, name in {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}.items():
        assert server.ON_OFF_AUTO[word] == flash[f"LLAMA_FLASH_ATTN_TYPE_{name}"].value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "model m.gguf cannot be read: No such file or directory"),
        (b"", "model m.gguf is not a GGUF file: it begins with b''"),
        (b"PK\x03\x04 a zip", "model m.gguf is not a GGUF file: it begins with b'PK\\x03\\x04'"),
        (b"GGUF\x03", None),
    ],
)
def test_a_model_is_looked_at_before_the_engine_is(tmp_path, content, words):
    model = tmp_path / "m.gguf"
    if content is not None:
        model.write_bytes(content)
    said = server.what_is_wrong_with(model)
    assert said == words if words is None else said.startswith(words)


def test_a_model_that_is_a_directory_is_told(tmp_path):
    assert server.what_is_wrong_with(tmp_path).endswith("cannot be read: Is a directory")


def test_the_file_runs_as_a_program_and_says_its_error_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", server.__file__, "--model", str(tmp_path / "m.gguf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "weeyuga-llama-server: model m.gguf cannot be read: No such file or directory\n"
