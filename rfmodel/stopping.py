"""Stopping: a training that is asked to end keeps a checkpoint first.

Ctrl-C, and the SIGTERM that batch systems send before they kill, come in the middle of a step, where nothing whole can
be kept. The first is therefore taken down, and the training ends after the step that it is in; a second one, or a step
that takes longer than the grace, ends it there and then. Outside of a training they end the program as ever.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE = 20.0  # seconds; Slurm sends SIGKILL 30 seconds after SIGTERM
ALARM = getattr(signal, "SIGALRM", None)  # Windows has none: there only a second signal ends a long step


class _Wish:
    """Whether somebody asked, and whether a training looks for it."""

    asked = False
    minded = 0


def is_asked() -> bool:
    """Whether the training should end after this step."""
    return _Wish.asked


@contextmanager
def minded() -> Iterator[None]:
    """Within it, a training asks `is_asked` after each step."""
    _Wish.minded += 1
    try:
        yield
    finally:
        _Wish.minded -= 1


@contextmanager
def at_signals(told: Callable[[], None] | None = None, signals: tuple[int, ...] = ()) -> Iterator[None]:
    """Within it, signals stop a training at the end of its step, and anything else at once, by KeyboardInterrupt.

    Parameters
    ----------
    told : callable, optional
        Called when a training was asked to end.
    signals : tuple of int
        SIGINT and SIGTERM by default; those that are ignored stay so. In another thread than the main one, none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        if _Wish.asked or not _Wish.minded or number == ALARM:
            raise KeyboardInterrupt
        _Wish.asked = True
        _ring_in(GRACE)
        if told is not None:
            told()

    wanted = [one for one in signals or (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, stop) for one in (*wanted, *(() if ALARM is None else (ALARM,)))}
    try:
        yield
    finally:
        _ring_in(0)
        _Wish.asked = False
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)  # None: not one of Python's


def _ring_in(seconds: float) -> None:
    """Have the alarm go off in so many seconds; 0 is never."""
    if ALARM is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
