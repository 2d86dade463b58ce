"""From an exception to two lines and an exit code; no error leaves the command line another way."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import FrameType

import click

from edgeexit.errors import EdgeExitError, is_out_of_memory, out_of_memory
from edgeexit.version import __version__

USAGE, BUG, INTERRUPTED, PIPE_CLOSED, TERMINATED = 2, 70, 130, 141, 143
"""Exit codes beside those of the error families (see ``docs/commands.md``)."""

_LONGEST_CHAIN = 50
_POSTPONED_SECONDS = 0.05

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR})


class PipeClosed(Exception):  # noqa: N818
    """Whoever read stdout has left; click would turn a BrokenPipeError into exit code 1."""


class _Terminated(BaseException):
    """SIGTERM arrived; unwinds the stack so that temporary files are removed on the way."""


def guarded(call: Callable[[], object], words: Sequence[str]) -> int:
    """Run ``call`` and return the exit code of the process, reporting what went wrong.

    Args:
        call: The command line's work; it may return an exit code.
        words: The arguments of the command line, to see ``--json`` and ``--debug`` even where
            they could not be parsed.
    """
    signal.signal(signal.SIGTERM, _stop)
    # A shell's background job ignores SIGINT, and is left to.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, _stop)
    try:
        code = call()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except PipeClosed:
        # Whoever read our output has left (`| head`); Python must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except (Exception, KeyboardInterrupt, _Terminated) as error:
        return _report(error, words)
    finally:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """Unwind the stack, or come back a little later where that would end in an abort."""
    if _loads_extension(frame):
        later = threading.Timer(_POSTPONED_SECONDS, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()
        return
    raise KeyboardInterrupt if number == signal.SIGINT else _Terminated


def _loads_extension(frame: FrameType | None) -> bool:
    """Whether a module in C++ is just starting: what is raised in it may end the process."""
    while frame is not None:
        loads = frame.f_code.co_name in ("create_module", "exec_module")
        if loads and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def _interruption(error: BaseException) -> BaseException:
    """Return the interruption that an error came of, or the error itself.

    Where a signal arrives in the middle of an import, a binding in C++ may turn it into an
    ImportError, and whoever imports that into another error.
    """
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None or isinstance(link, (KeyboardInterrupt, _Terminated)):
            break
        link = link.__cause__ or link.__context__
    return link if isinstance(link, (KeyboardInterrupt, _Terminated)) else error


def _report(error: BaseException, words: Sequence[str]) -> int:
    error = _interruption(error)
    known = _as_edgeexit_error(error)
    if isinstance(error, (KeyboardInterrupt, click.Abort, _Terminated)):
        stopped = isinstance(error, _Terminated)
        message, code = ("terminated", TERMINATED) if stopped else ("interrupted", INTERRUPTED)
        hint, name = "what stood before is unchanged; run the command again.", f"process.{message}"
        message += "."
    elif isinstance(error, click.UsageError):
        message, hint, name, code = *_usage(error), "usage", USAGE
    elif known is not None:
        message, hint, name, code = known.message, known.hint, known.code, known.exit_code
    else:
        message = f"a bug in edgeexit {__version__}: {type(error).__name__}: {error}"
        hint, name, code = "please report it, with the lines above.", "bug", BUG
    if code == BUG or "--debug" in words or os.environ.get("EDGEEXIT_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error, file=sys.stderr)
    print(f"error: {_one_line(message)}", f"hint: {_one_line(hint)}", sep="\n", file=sys.stderr)  # noqa: T201
    if "--json" in words:
        answer = {"code": name, "message": message, "hint": hint, "exit_code": code}
        # Past Python's buffer: where stdout is full or closed, nothing is left to fail at exit.
        with contextlib.suppress(OSError):
            os.write(1, (json.dumps({"error": answer}) + "\n").encode())
    return code


def _as_edgeexit_error(error: BaseException) -> EdgeExitError | None:
    if isinstance(error, EdgeExitError):
        return error
    if isinstance(error, OSError) and error.errno in _NO_ROOM | _REFUSED:
        from edgeexit.bundle.atomic import resource_error

        return resource_error(error, Path(error.filename or "the output"))
    if isinstance(error, (MemoryError, ImportError, RuntimeError)) and is_out_of_memory(error):
        return out_of_memory()
    return out_of_memory() if isinstance(error, OSError) and error.errno == errno.ENOMEM else None


def _usage(error: click.UsageError) -> tuple[str, str]:
    command = error.ctx.command_path if error.ctx else "edgeexit"
    hint = f"see `{command} --help`."
    if isinstance(error, click.MissingParameter) and error.param is not None:
        hint = f"give it on the command line or in edgeexit.toml; {hint}"
    return error.format_message(), hint


def _one_line(text: str) -> str:
    return " ".join(text.split())
