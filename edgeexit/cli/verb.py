"""What all verbs share: the common flags, the settings file, and the reply they are given."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from edgeexit.cli.failure import PipeClosed
from edgeexit.cli.reply import Reply
from edgeexit.cli.settings import environment_name, verb_defaults

_FLAG_ONLY = ("as_json", "debug")
"""Flags that the report of an error must see too; it looks at the command line alone."""


class Verb(click.Command):
    """A command whose parameters may also come from ``EDGEEXIT_*`` and ``edgeexit.toml``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            if param.name and param.name not in _FLAG_ONLY:
                param.envvar = environment_name(param.name)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Start a context whose defaults come from ``edgeexit.toml``."""
        wants_help = "--help" in args or "-h" in args
        defaults: MutableMapping[str, Any] = {} if wants_help else verb_defaults(self, Path.cwd())
        return super().make_context(info_name, args, parent, default_map=defaults, **extra)


def verb(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function that takes a :class:`Reply` and its parameters by name."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        def run(*, as_json: bool, quiet: bool, debug: bool, **parameters: Any) -> Any:
            loud = debug or os.environ.get("EDGEEXIT_DEBUG", "0") not in ("", "0")
            try:
                with (
                    nullcontext() if loud else _quiet(),
                    Reply(as_json=as_json, quiet=quiet) as reply,
                ):
                    return function(reply, **parameters)
            except BrokenPipeError:
                raise PipeClosed from None

        run.__doc__ = function.__doc__
        run.__click_params__ = list(reversed(_COMMON)) + getattr(  # type: ignore[attr-defined]
            function, "__click_params__", []
        )
        return click.command(name, cls=Verb, **attributes)(run)

    return decorate


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings of libraries off the terminal, and leave a caller's logging as it was."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def bundle_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument BUNDLE."""
    return click.argument("bundle", type=PATH)(function)


def target_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--target``; without it a bundle runs on the device it was compiled for."""
    return click.option(
        "--target",
        metavar="NAME",
        help="Device to run on, e.g. x86 or cpu, or the path of a device file. "
        "Default: the device the bundle was compiled for.",
    )(function)


def numbers(value: Any) -> tuple[float, ...]:
    """Parse numbers separated by commas, e.g. ``0.485,0.456,0.406``."""
    if isinstance(value, tuple):
        return value
    try:
        return tuple(float(number) for number in str(value).split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a list of numbers such as 0.485,0.456,0.406."
        ) from None


def names(value: Any) -> tuple[str, ...]:
    """Parse names separated by commas."""
    if isinstance(value, tuple):
        return value
    return tuple(name.strip() for name in str(value).split(",") if name.strip())


PATH = click.Path(path_type=Path)
"""A path as :class:`pathlib.Path`; whether it exists is for the verb to say."""

_COMMON: list[click.Parameter] = [
    click.Option(["--json", "as_json"], is_flag=True, help="Answer with one JSON object."),
    click.Option(["-q", "--quiet"], is_flag=True, help="No progress and no log lines."),
    click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
]
