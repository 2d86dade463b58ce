"""Ctrl-C and SIGTERM while training: noted at once, acted on between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Holds back the first interrupt so that a checkpoint can be written; a second one is let by.

    Use it as a context manager. Outside the main thread, where Python delivers no signals, it
    does nothing.

    Attributes:
        caught: Number of the signal that arrived, or None.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # What nohup and the like have switched off stays off.
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        self._give_back()

    def deliver(self) -> None:
        """Let the caught signal do what it would have done."""
        if self.caught is not None:
            self._give_back()
            signal.raise_signal(self.caught)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.caught = number
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            # None: the handler was not Python's, and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
