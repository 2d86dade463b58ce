"""The entry point: the group of verbs, each loaded when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from edgeexit.cli.failure import guarded
from edgeexit.version import __version__

VERBS = {
    "tune": "Tune a backbone with exits on labelled data.",
    "compile": "Compile a multi-exit model into a bundle.",
    "build": "Build a bundle's engines here, or check that they would build.",
    "calibrate": "Fit the exits of a bundle to a budget on labelled data.",
    "run": "Answer inputs with a bundle.",
    "profile": "Measure each stage of a bundle on this device.",
    "bench": "Compare a bundle with the static model, interleaved.",
    "report": "Show what a bundle does as one HTML page.",
    "inspect": "Show the stages of a bundle: FLOPs, parameters, boundary, gate.",
    "verify": "Check a bundle's integrity and its parity with the whole model.",
    "targets": "List the targets and devices, and what this machine can run.",
    "doctor": "Check the installation, and show each setting and its source.",
    "demo": "Go the whole way on a small packaged model, in about a minute.",
}
"""The verbs in the order of use; ``edgeexit --help`` imports none of them."""


class _Verbs(click.Group):
    """A group that imports a verb's file on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"edgeexit.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.command(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each setting may also stand in the environment (EDGEEXIT_TARGET) or in edgeexit.toml; "
    "`edgeexit doctor` shows where each one comes from.",
)
@click.version_option(__version__, prog_name="edgeexit", message="%(prog)s %(version)s")
def edgeexit() -> None:
    """Run multi-exit models at half their cost: tune, compile, calibrate, run."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Args:
        arguments: What follows the program's name; ``sys.argv[1:]`` by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(lambda: edgeexit.main(words, "edgeexit", standalone_mode=False), words))
