"""What a caller of ``map_parallel`` can ask for, checked before anything is sent."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex

from seppo.errors import ConfigurationError
from seppo.shipping.depends import Depends
from seppo.values.retry import Retry
from seppo.values.setup import Setup

# Seen by a type checker; what it means is told in map_parallel's docstring.
Progress = bool | str | Mapping[str, Any] | type | Callable[[int, int | None], object] | None

FALLBACKS = ("serial", "error")
NO_RETRY = Retry(0)


@dataclass(frozen=True)
class MapOptions:
    """The keyword arguments of one map."""

    chunksize: int | None = None
    buffersize: int | None = None
    ordered: bool = True
    return_exceptions: bool = False
    progress: Progress = None
    group: str | None = None
    fallback: str = "serial"
    retries: Retry = NO_RETRY
    retries_on_loss: int = 2
    duplicate: bool = True
    timeout: float | None = None
    task_timeout: float | None = None
    setup: Setup | None = None

    @classmethod
    def checked(
        cls,
        *,
        chunksize: SupportsIndex | None,
        buffersize: SupportsIndex | None,
        ordered: bool,
        return_exceptions: bool,
        retries: int | Retry,
        retries_on_loss: int,
        duplicate: bool,
        timeout: float | None,
        task_timeout: float | None,
        progress: Progress,
        group: str | None,
        fallback: str,
    ) -> MapOptions:
        """Return the options.

        Raises:
            ConfigurationError: If a value makes no sense (it is also a ``ValueError``).
            TypeError: If a value is of the wrong type.
        """
        if fallback not in FALLBACKS:
            raise ConfigurationError("fallback", repr(fallback), f"choose one of {FALLBACKS}")
        if group is not None and (not isinstance(group, str) or not group):
            raise ConfigurationError("group", repr(group), "a name is needed, or None")
        known = progress is None or isinstance(progress, (bool, str, Mapping))
        if not known and not callable(progress):
            raise ConfigurationError(
                "progress",
                repr(progress),
                "choose True, a description, a dict of tqdm's keywords, a tqdm class "
                "or a callable taking (done, total)",
            )
        return cls(
            _positive("chunksize", chunksize),
            _positive("buffersize", buffersize),
            bool(ordered),
            bool(return_exceptions),
            progress,
            group,
            fallback,
            retries if isinstance(retries, Retry) else Retry(count_of("retries", retries)),
            count_of("retries_on_loss", retries_on_loss),
            bool(duplicate),
            seconds_of("timeout", timeout),
            seconds_of("task_timeout", task_timeout),
        )


def count_of(name: str, value: SupportsIndex) -> int:
    """Return a number of times, checked.

    Raises:
        ConfigurationError: If it is below 0.
        TypeError: If it is no whole number.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {value!r}") from None
    if number < 0:
        raise ConfigurationError(name, str(number), "0 or more is needed")
    return number


def seconds_of(name: str, value: float | None) -> float | None:
    """Return a time limit, checked; None stays None.

    Raises:
        ConfigurationError: If it is not above 0.
        TypeError: If it is no number.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number of seconds or None, not {value!r}") from None
    if not seconds > 0:
        raise ConfigurationError(name, str(value), "more than 0 seconds are needed, or None")
    return seconds if seconds < float("inf") else None


def setup_of(
    depends: Iterable[Any],
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    finalizer: Callable[[], object] | None,
    env: Mapping[str, str] | None,
) -> Setup | None:
    """Return what is to be there and to be done around a map; None for nothing.

    Raises:
        ConfigurationError: If an element of ``depends`` is nothing that can travel.
        TypeError: If a value is of the wrong type.
        OSError: If a file cannot be read.
    """
    for name, value in (("initializer", initializer), ("finalizer", finalizer)):
        if value is not None and not callable(value):
            raise TypeError(f"{name} must be callable, not {value!r}")
    if isinstance(depends, (str, os.PathLike)) or not isinstance(depends, Iterable):
        raise TypeError(f"depends must be a list, not {depends!r}")
    variables = dict(env or {})
    for variable, text in variables.items():
        if not isinstance(variable, str) or not isinstance(text, str):
            raise TypeError(f"env must map names to texts, not {variable!r} to {text!r}")
        if not variable or "=" in variable or "\0" in variable + text:
            raise ConfigurationError("env", repr(variable), "the name of a variable is needed")
    listed = list(depends)
    if not listed and initializer is None and finalizer is None and not variables:
        return None
    return Setup(Depends.of(listed), initializer, tuple(initargs), finalizer, variables)


def _positive(name: str, value: SupportsIndex | None) -> int | None:
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number or None, not {value!r}") from None
    if number < 1:
        raise ConfigurationError(name, str(number), "1 or more is needed, or None")
    return number
