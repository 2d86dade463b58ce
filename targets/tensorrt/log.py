"""What TensorRT says, in its own words: its errors are else a None and a line on stderr."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

_KEPT_WORDS = 40


class Log:
    """The messages of one TensorRT module.

    Args:
        keep: How messages begin that are kept in full in ``lines``, whatever their severity.
        on_word: Told each warning and error as it comes.

    Attributes:
        lines: The messages that ``keep`` asks for, in order.
    """

    def __init__(
        self, keep: tuple[str, ...] = (), on_word: Callable[[str], None] | None = None
    ) -> None:
        self.lines: list[str] = []
        self._keep = keep
        self._on_word = on_word
        self._words: deque[tuple[bool, str]] = deque(maxlen=_KEPT_WORDS)

    @property
    def words(self) -> tuple[str, ...]:
        """The latest errors and warnings, oldest first."""
        return tuple(text for _, text in self._words)

    @property
    def errors(self) -> tuple[str, ...]:
        """The latest errors, oldest first."""
        return tuple(text for serious, text in self._words if serious)

    @property
    def reason(self) -> str:
        """The latest error, which is why the last thing was refused."""
        return (self.errors or ("no reason was given",))[-1]

    def add(self, text: str, warning: bool, error: bool) -> None:
        """Take a message; any thread of the engine may call this."""
        if text.startswith(self._keep):
            self.lines.append(text)
        if warning or error:
            self._words.append((error, text))
            if self._on_word is not None:
                self._on_word(text)


def bridge(module: Any, log: Log) -> Any:
    """Return an ``ILogger`` of ``module`` that hands every message to ``log``.

    Keep it as long as anything made with it lives: TensorRT does not.
    """
    severity = module.ILogger.Severity
    errors = (severity.INTERNAL_ERROR, severity.ERROR)

    class Bridge(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, level: Any, text: str) -> None:
            log.add(text, level == severity.WARNING, level in errors)

    return Bridge()
