"""The command `weeyuga-bench`: one module a command, imported only when it is typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, TextIO

import click

from weeyuga_core.cli._output import say
from weeyuga_core.errors import BenchError, ExitCode, PluginError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from weeyuga_core.plugins import Plugins

PROG = "weeyuga-bench"
ENV_PREFIX = "WEEYUGA"
COMPLETE_VAR = "_WEEYUGA_BENCH_COMPLETE"
TYPED = f"{__name__}.typed"
"""Where a command finds, in the `meta` of its context, what was typed behind the program's name."""

COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("Write a cells.yaml for the engines that answer on this host.", "weeyuga_core.cli.init:init"),
    "validate": ("Check cells.yaml and prompts.yaml; print the resolved plan.", "weeyuga_core.cli.validate:validate"),
    "probe": ("Ask every cell once, within 1 s, whether it can be measured.", "weeyuga_core.cli.probe:probe"),
    "run": ("Measure the matrix of cells and prompts into a ledger.", "weeyuga_core.cli.run:run"),
    "calibrate": ("Measure how right the figures are on this host.", "weeyuga_core.cli.calibrate:calibrate"),
    "report": ("Turn a ledger into the Markdown baseline.", "weeyuga_core.cli.report:report"),
    "overhead": ("Print what a router costs, from the pairs of a ledger.", "weeyuga_core.cli.overhead:overhead"),
    "replay": ("Bring a sink's copy level with its ledger, and prove it.", "weeyuga_core.cli.replay:replay"),
    "sinks": ("Show how far the copies of a ledger got.", "weeyuga_core.cli.sinks:sinks"),
    "es": ("Prepare Elasticsearch or OpenSearch, and Kibana.", "weeyuga_core.cli.es:es"),
    "plugins": ("Show the installed engines, sinks and commands.", "weeyuga_core.cli.plugins:plugins"),
}
"""Our own commands, in the order of `--help`: name -> (short help, "module:attribute")."""


class LazyGroup(click.Group):
    """Commands by reference: `--help` imports none of them, typing one imports that one."""

    _plugins: Plugins | None = None

    def plugins(self) -> Plugins:
        """What is installed. Scanned at most once, and not at all for a command of our own."""
        if self._plugins is None:
            from weeyuga_core import plugins

            self._plugins = plugins.load(reserved_commands=COMMANDS)
        return self._plugins

    def summaries(self) -> dict[str, str]:
        """Every command with its short help: ours in their order, then those of plugins by name."""
        ours = {name: summary for name, (summary, _) in COMMANDS.items()}
        return ours | dict(sorted(self.plugins().commands().items()))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name][1].partition(":")
            found: object = getattr(import_module(module), attribute)
        elif self.plugins().offers_command(cmd_name):
            found = self.plugins().command(cmd_name)
        else:
            return None
        if not isinstance(found, click.Command):
            raise PluginError(f"the command {cmd_name!r} is a {type(found).__name__}, not a click.Command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        typed = args[0]
        if self.get_command(ctx, typed) is None and not typed.startswith("-"):
            ctx.fail(_no_such_command(typed, self))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries().items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=text) for name, text in self.summaries().items() if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def _no_such_command(typed: str, group: LazyGroup) -> str:
    """Words for an unknown command: the nearest ones, and the broken plugins that might have brought it."""
    from difflib import get_close_matches

    lines = [f"no command {typed!r}"]
    if near := get_close_matches(typed, group.summaries()):
        lines.append(f"  = help: did you mean {' or '.join(repr(name) for name in near)}?")
    lines += [f"  = note: {words}" for words in group.plugins().broken()]
    return "\n".join(lines)


@click.group(cls=LazyGroup, context_settings={"auto_envvar_prefix": ENV_PREFIX, "help_option_names": ["-h", "--help"]})
@click.version_option(package_name=PROG, prog_name=PROG)
def weeyuga_bench() -> None:
    """Measure self-hosted LLM engines, with numbers that state their own error."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Click's own `main` would end usage errors, Ctrl-C and defects alike with 1, which means a regression here, so its
    context is driven directly.
    """
    if sys.platform == "win32":
        say(f"{PROG} runs on Linux and macOS; on Windows, use it inside WSL.")
        return ExitCode.USAGE
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except Exception as error:
        return _failed(error)
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED
    return code


def _dispatch(args: list[str]) -> int:
    if instruction := os.environ.get(COMPLETE_VAR):
        from click.shell_completion import shell_complete

        return shell_complete(weeyuga_bench, {}, PROG, COMPLETE_VAR, instruction)
    typed = tuple(args)  # parsing may take the list apart
    try:
        with weeyuga_bench.make_context(PROG, args) as ctx:
            ctx.meta[TYPED] = typed
            answer: object = weeyuga_bench.invoke(ctx)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    return answer if isinstance(answer, int) else ExitCode.OK


def _failed(error: Exception) -> int:
    """Say what went wrong in the words its kind deserves; the exit code."""
    if isinstance(error, BenchError):
        say(f"error: {error}")
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return ExitCode.USAGE
    if isinstance(error, click.Abort):
        say("interrupted")
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return ExitCode.OK
    import traceback

    say("".join(traceback.format_exception(error)).rstrip())
    say(f"error: this is a defect of {PROG}, not of your input; please report it with the lines above.")
    return ExitCode.INTERNAL


def _reader_is_gone() -> bool:
    """Whether stdout or stderr goes to a pipe that nobody reads any more (`| head`).

    Such a stream is then pointed at nothing, or the interpreter would complain when it flushes at exit. A broken pipe
    to an engine leaves both streams whole, and is a defect like any other.
    """
    gone = [fd for stream in (sys.stdout, sys.stderr) if (fd := _hung_up(stream)) is not None]
    for fd in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    return bool(gone)


def _hung_up(stream: TextIO) -> int | None:
    """The descriptor of a stream whose other end is closed; None for any other."""
    import select

    try:
        fd = stream.fileno()
    except OSError:  # replaced by something in memory
        return None
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return fd if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)) else None
