"""Progress of a map: a tqdm bar, or a function of the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from seppo.interfaces.options import Progress


class Meter(Protocol):
    """A display of how far a map is."""

    def show(self, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` items are done; None if nobody knows."""

    def close(self) -> None:
        """Show nothing more."""


def meter_for(progress: Progress, total: int | None) -> Meter | None:
    """Return what ``progress=`` asks for, or None.

    Args:
        progress: The argument of ``map_parallel``, checked.
        total: How many items there are, None if nobody knows.
    """
    if progress is None or progress is False:
        return None
    if progress is True:
        return _Bar(_tqdm(), {}, total)
    if isinstance(progress, str):
        return _Bar(_tqdm(), {"desc": progress}, total)
    if isinstance(progress, Mapping):
        return _Bar(_tqdm(), dict(progress), total)
    if isinstance(progress, type) and hasattr(progress, "update"):
        return _Bar(progress, {}, total)
    return _Callback(progress)


def _tqdm() -> Any:
    from tqdm.auto import tqdm  # optional at run time: loaded only for those who want a bar

    return tqdm


class _Bar:
    def __init__(self, tqdm: Any, keywords: dict[str, Any], total: int | None) -> None:
        self._bar = tqdm(**{"total": total, **keywords})
        self._done = 0

    def show(self, done: int, total: int | None) -> None:
        if done > self._done:
            self._bar.update(done - self._done)
            self._done = done

    def close(self) -> None:
        self._bar.close()


class _Callback:
    def __init__(self, callback: Any) -> None:
        self._callback = callback
        self._done: int | None = None

    def show(self, done: int, total: int | None) -> None:
        if done != self._done:
            self._done = done
            self._callback(done, total)

    def close(self) -> None:
        pass
