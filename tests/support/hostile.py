"""Objects and functions that crash, exit or raise, at every place where user code runs.

What raises carries the ``Oops`` or the exit of its name, so that a test can see where it
came from. What crashes takes the process with it: for tests with processes of their own.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


class Oops(Exception):
    """What hostile code raises."""


class RaisesAtPickling:
    """Raises when it is packed."""

    def __init__(self, error: type[BaseException] = Oops) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("at pickling")


class RaisesAtUnpickling:
    """Can be packed, and raises where it is unpacked."""

    def __init__(self, error: type[BaseException] = Oops) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return fail, (self.error, "at unpickling")


class SleepsAtUnpickling:
    """Lasts long where it is unpacked, and says so in a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return sleep, (self.path,)


class SleepsAtPickling(SleepsAtUnpickling):
    """Lasts long where it is packed, and says so in a file."""

    def __reduce__(self) -> Any:
        sleep(self.path)


class ExitsAtUnpickling:
    """Ends the process that unpacks it, without a word."""

    def __init__(self, status: int = 3) -> None:
        self.status = status

    def __reduce__(self) -> Any:
        return os._exit, (self.status,)


class CrashesAtUnpickling:
    """Kills the process that unpacks it."""

    def __reduce__(self) -> Any:
        return crash, ()


class CannotBePickled:
    """Holds what no pickler takes, and travels no further."""

    def __init__(self) -> None:
        import threading

        self.lock = threading.Lock()


def fail(error: type[BaseException] = Oops, text: str = "at running") -> Any:
    """Raise."""
    raise error(text)


def crash(_: object = None) -> Any:
    """Die of a signal, as of a bug in a C library."""
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)  # a worker may take a moment to die; nothing may come after


def sleep(path: str) -> None:
    """Make a file, and last long."""
    open(path, "w").close()
    time.sleep(600)


def exit_at_once(status: object = 3) -> Any:
    """End the process without cleaning up."""
    os._exit(status if isinstance(status, int) else 3)


def exit_politely(status: object = 3) -> Any:
    """Raise ``SystemExit``."""
    sys.exit(status if isinstance(status, int) else 3)


def stop_iteration(_: object = None) -> Any:
    """Raise ``StopIteration``, which ends builtin loops quietly."""
    raise StopIteration


def returns_unpicklable(_: object = None) -> Any:
    """Return what cannot travel back."""
    return CannotBePickled()


def returns_bomb(_: object = None) -> Any:
    """Return what raises where it is unpacked."""
    return RaisesAtUnpickling()


# --- exceptions that are hard to carry


class TwoArguments(Exception):
    """Its constructor wants more than ``args`` holds, so it does not unpickle."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class KeywordOnly(Exception):
    """Its constructor takes keywords, so it does not unpickle."""

    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code


class HoldsALock(Exception):
    """Has an attribute that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        import threading

        self.lock = threading.Lock()


class ChangesItsText(Exception):
    """Its constructor makes a text of its argument, and would make another one of that."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} not found")


class Forgetful(Exception):
    """Its reduction loses an attribute that its text shows."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> Any:
        return Forgetful, self.args

    def __str__(self) -> str:
        return f"{self.args[0]} {self.code}"


class TellsItsLock(HoldsALock):
    """Has no text without an attribute that cannot be pickled."""

    def __str__(self) -> str:
        return f"{self.args[0]}" if self.lock.locked else "never"


class Counts(Exception):
    """Tells another text each time, and brings a reduction of its own."""

    told = 0

    def __reduce__(self) -> Any:
        return Counts, self.args

    def __str__(self) -> str:
        Counts.told += 1
        return str(Counts.told)


def local_class() -> type[Exception]:
    """Return a class of exceptions that cannot be pickled."""
    import threading

    class Local(Exception):
        lock = threading.Lock()

    return Local


class NoText(Exception):
    """Its ``__str__`` raises."""

    def __str__(self) -> str:
        raise Oops("at str()")


class ForbidsAttributes(Exception):
    """Nothing can be set on it."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set")


class Impostor(Exception):
    """Comes back as something that is no exception."""

    def __reduce__(self) -> Any:
        return str, ("not an exception",)
