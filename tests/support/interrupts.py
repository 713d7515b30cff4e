"""Ctrl-C at a chosen moment: at the n-th function that this thread enters in seppo."""

import contextlib
import gc
import os
import signal
import sys

import seppo

WHERE = os.path.dirname(seppo.__file__)
DEADLINE = 20.0  # seconds; whoever waits longer hangs


class HangError(Exception):
    """Raised by ``deadline``."""


class Interrupt:
    """Raises ``KeyboardInterrupt`` once, at the n-th event in a function of seppo's.

    Attributes:
        is_due: Whether it has not been raised yet.
    """

    def __init__(self, n, event="call"):
        self._left = n
        self._event = event
        self.is_due = True

    def __enter__(self):
        # What an earlier test has left must not be thrown away in the middle of this: of what
        # is raised in a __del__ nobody is told.
        gc.collect()
        gc.disable()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)
        gc.enable()

    def _look(self, frame, event, arg):
        code = frame.f_code
        if code.co_name == "<genexpr>":  # entered also when it is thrown away, where nobody
            return  # can be told
        if event == self._event and code.co_filename.startswith(WHERE):
            self._left -= 1
            if self._left == 0:
                self.is_due = False
                raise KeyboardInterrupt


@contextlib.contextmanager
def deadline(seconds=DEADLINE):
    """Raise ``HangError`` in the main thread if this takes longer."""

    def ring(*_):
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
