"""Every exception that seppo raises on its own behalf.

A user's own exception is never wrapped in one of these: it arrives as itself, at its
item's place. All classes carry plain values, hand every argument to
``super().__init__`` and format in ``__str__``; without that they would not survive
pickling between a worker and its client.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

__all__ = [
    "ConfigurationError",
    "InternalError",
    "MapTimeoutError",
    "NameServerError",
    "NoWorkersError",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "SecurityError",
    "SeppoError",
    "SerializationError",
    "SetupError",
    "TaskTimeoutError",
    "WorkerLostError",
]


class SeppoError(Exception):
    """Base class of all errors of seppo itself."""


class ConfigurationError(SeppoError, ValueError):
    """An argument, an environment variable or a file has a value that is not valid.

    Args:
        setting: What was set, for example ``"chunksize"``.
        value: What it was set to, as text.
        advice: What would be accepted.
    """

    def __init__(self, setting: str, value: str, advice: str) -> None:
        super().__init__(setting, value, advice)
        self.setting = setting
        self.value = value
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.setting}={self.value}: {self.advice}"


class NameServerError(SeppoError, ConnectionError):
    """The Pyro5 name server could not be asked.

    Args:
        address: ``host:port`` of the name server.
        reason: What went wrong, as text.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"no answer from the name server at {self.address} ({self.reason}); start one with "
            "'seppo nameserver', or set PYRO_NS_HOST and PYRO_NS_PORT to its address"
        )


class NoWorkersError(SeppoError, BrokenExecutor):
    """No worker is there to run the items, or all of them were lost.

    Args:
        reason: Why there are no workers.
        delivered: Items whose results had already been handed over.
        undone: Items without a result; None when the input's length is not known.
        losses: One line for each worker that was lost, oldest first.
    """

    def __init__(
        self,
        reason: str,
        delivered: int = 0,
        undone: int | None = None,
        losses: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reason, delivered, undone, losses)
        self.reason = reason
        self.delivered = delivered
        self.undone = undone
        self.losses = losses

    def __str__(self) -> str:
        parts = [self.reason]
        if self.delivered or self.undone:
            undone = "an unknown number" if self.undone is None else str(self.undone)
            parts.append(f"{self.delivered} items were delivered, {undone} were not done")
        parts.extend(self.losses)
        parts.append("start workers with 'seppo worker', list them with 'seppo status'")
        return "; ".join(parts)


class WorkerLostError(SeppoError, BrokenExecutor):
    """An item's worker was lost, and the item may not be tried again.

    Args:
        index: Position of the item in the input, from 0.
        worker: Name of the worker that was lost last.
        reason: How it was lost.
        tries: How often the item was begun.
        item: Short ``repr`` of the item; None if it is not available.
    """

    def __init__(
        self, index: int, worker: str, reason: str, tries: int, item: str | None = None
    ) -> None:
        super().__init__(index, worker, reason, tries, item)
        self.index = index
        self.worker = worker
        self.reason = reason
        self.tries = tries
        self.item = item

    def __str__(self) -> str:
        what = f"item {self.index}" if self.item is None else f"item {self.index} ({self.item})"
        if self.tries == 1:
            lost = f"was begun once, and its worker was lost ({self.worker}: {self.reason})"
        else:
            lost = f"was begun {self.tries} times, and its workers were lost "
            lost += f"(the last one, {self.worker}: {self.reason})"
        return f"{what} {lost}; run it alone with seppo.map_parallel_serial to see why"


class TaskTimeoutError(SeppoError, TimeoutError):
    """An item took longer than ``task_timeout`` and was interrupted.

    Args:
        index: Position of the item in the input, from 0.
        seconds: The limit.
        worker: Name of the worker that ran it.
        item: Short ``repr`` of the item; None if it is not available.
    """

    def __init__(
        self, index: int, seconds: float, worker: str = "", item: str | None = None
    ) -> None:
        super().__init__()
        # The builtin is an OSError, which would take these for an errno and file names.
        self.args = (index, seconds, worker, item)
        self.index = index
        self.seconds = seconds
        self.worker = worker
        self.item = item

    def __str__(self) -> str:
        what = f"item {self.index}" if self.item is None else f"item {self.index} ({self.item})"
        where = f" on worker {self.worker}" if self.worker else ""
        return f"{what} took longer than its task_timeout of {self.seconds:g} s{where}"


class MapTimeoutError(SeppoError, TimeoutError):
    """A map was not done ``timeout`` seconds after the call.

    Args:
        seconds: The limit.
        delivered: Items whose results had already been handed over.
        undone: Items without a result; None when the input's length is not known.
    """

    def __init__(self, seconds: float, delivered: int = 0, undone: int | None = None) -> None:
        super().__init__()
        # The builtin is an OSError, which would take these for an errno and file names.
        self.args = (seconds, delivered, undone)
        self.seconds = seconds
        self.delivered = delivered
        self.undone = undone

    def __str__(self) -> str:
        undone = "an unknown number" if self.undone is None else str(self.undone)
        return (
            f"the map was not done within its timeout of {self.seconds:g} s; "
            f"{self.delivered} items were delivered, {undone} were not done"
        )


class SerializationError(SeppoError, TypeError):
    """Something could not be turned into bytes, or back.

    Args:
        what: The thing: ``"the function"``, ``"item 7"``, ``"the result of item 7"``.
        reason: What the serializer said.
        advice: What to try.
    """

    def __init__(self, what: str, reason: str, advice: str = "") -> None:
        super().__init__(what, reason, advice)
        self.what = what
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        text = f"{self.what} cannot be sent to another process: {self.reason}"
        return f"{text}; {self.advice}" if self.advice else text


class SetupError(SeppoError, RuntimeError):
    """A worker could not be made ready for a map; it ends the map, and is raised once.

    Args:
        worker: The worker's name.
        what: What failed: ``"the initializer"``, unpickling the function, or a file that the
            map depends on.
        reason: How, as text.
    """

    def __init__(self, worker: str, what: str, reason: str) -> None:
        super().__init__(worker, what, reason)
        self.worker = worker
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"worker {self.worker} could not be made ready: {self.what}: {self.reason}"


class RemoteTraceback(Exception):
    """The traceback on the worker, as the ``__cause__`` of an item's exception.

    Args:
        text: The formatted traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class RemoteError(SeppoError):
    """An item's exception, as text, because the exception itself could not be sent.

    Args:
        type_name: Full name of the exception's class on the worker.
        text: Its ``str``.
        traceback: The formatted traceback on the worker.
        why: Why the exception itself could not be sent.
    """

    def __init__(self, type_name: str, text: str, traceback: str, why: str = "") -> None:
        super().__init__(type_name, text, traceback, why)
        self.type_name = type_name
        self.text = text
        self.traceback = traceback
        self.why = why

    def __str__(self) -> str:
        text = f"{self.type_name}: {self.text}" if self.text else self.type_name
        return f"{text} (the exception itself could not be sent: {self.why})" if self.why else text


class ProtocolError(SeppoError):
    """A peer broke the protocol, or speaks another version of it.

    Args:
        reason: What was wrong.
    """


class SecurityError(SeppoError, PermissionError):
    """A peer could not prove that it holds the key, or a key file is not safe to use.

    Args:
        reason: What failed and which file or setting to look at.
    """


class InternalError(SeppoError):
    """A bug in seppo itself: please report it, with the text.

    Args:
        text: What was found.
    """

    def __str__(self) -> str:
        return f"{super().__str__()}; this is a bug in seppo, please report it"
