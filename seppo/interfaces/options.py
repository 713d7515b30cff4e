"""The keyword arguments of ``map_parallel``, checked before anything is sent."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any, SupportsIndex

from seppo.core.events import Policy
from seppo.errors import ConfigurationError
from seppo.shipping.depends import Depends
from seppo.values.retry import Retry
from seppo.values.setup import Setup

# Seen by a type checker; what it means is told in map_parallel's docstring.
Progress = bool | str | Mapping[str, Any] | type | Callable[[int, int | None], object] | None

FALLBACKS = ("serial", "error")


@dataclass(frozen=True, eq=False)
class MapOptions:
    """The keyword arguments of one map, with their defaults: see ``map_parallel``.

    Attributes:
        retry: What ``retries`` means.
        setup: What ``depends``, ``initializer``, ``finalizer`` and ``env`` ask for; None for
            nothing.

    Raises:
        ConfigurationError: If a value makes no sense (it is also a ``ValueError``).
        TypeError: If a value is of the wrong type.
        OSError: If a file that ``depends`` names cannot be read.
    """

    chunksize: int | None = None
    buffersize: int | None = None
    ordered: bool = True
    return_exceptions: bool = False
    retries: InitVar[int | Retry] = 0
    retries_on_loss: int = 2
    duplicate: bool = True
    timeout: float | None = None
    task_timeout: float | None = None
    progress: Progress = None
    group: str | None = None
    fallback: str = "serial"
    depends: InitVar[Iterable[Any]] = ()
    initializer: InitVar[Callable[..., object] | None] = None
    initargs: InitVar[Iterable[Any]] = ()
    finalizer: InitVar[Callable[[], object] | None] = None
    env: InitVar[Mapping[str, str] | None] = None
    retry: Retry = field(init=False)
    setup: Setup | None = field(init=False)

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> MapOptions:
        """Return the options among all arguments of a call of ``map_parallel``."""
        return cls(**{k: v for k, v in arguments.items() if k not in ("func", "iterables")})

    def __post_init__(
        self,
        retries: int | Retry,
        depends: Iterable[Any],
        initializer: Callable[..., object] | None,
        initargs: Iterable[Any],
        finalizer: Callable[[], object] | None,
        env: Mapping[str, str] | None,
    ) -> None:
        if self.fallback not in FALLBACKS:
            raise ConfigurationError("fallback", repr(self.fallback), f"choose one of {FALLBACKS}")
        if self.group is not None and (not isinstance(self.group, str) or not self.group):
            raise ConfigurationError("group", repr(self.group), "a name is needed, or None")
        known = self.progress is None or isinstance(self.progress, (bool, str, Mapping))
        if not known and not callable(self.progress):
            raise ConfigurationError(
                "progress",
                repr(self.progress),
                "choose True, a description, a dict of tqdm's keywords, a tqdm class "
                "or a callable taking (done, total)",
            )
        if not isinstance(retries, Retry):
            retries = Retry(_whole("retries", retries))
        checked = {
            "chunksize": _positive("chunksize", self.chunksize),
            "buffersize": _positive("buffersize", self.buffersize),
            "ordered": bool(self.ordered),
            "return_exceptions": bool(self.return_exceptions),
            "retries_on_loss": _whole("retries_on_loss", self.retries_on_loss),
            "duplicate": bool(self.duplicate),
            "timeout": _seconds("timeout", self.timeout),
            "task_timeout": _seconds("task_timeout", self.task_timeout),
            "retry": retries,
            "setup": _setup_of(depends, initializer, initargs, finalizer, env),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def policy(self, **more: Any) -> Policy:
        """Return what a scheduler has to know of the options, and what more is given."""
        return Policy(
            chunksize=self.chunksize,
            ordered=self.ordered,
            max_ahead=self.buffersize or Policy.max_ahead,
            retries_on_loss=self.retries_on_loss,
            duplicate=self.duplicate,
            task_timeout=self.task_timeout,
            timeout=self.timeout,
            finishes_here=self.fallback == "serial",
            **more,
        )


def _positive(name: str, value: SupportsIndex | None) -> int | None:
    return None if value is None else _whole(name, value, 1, ", or None")


def _whole(name: str, value: SupportsIndex, smallest: int = 0, or_none: str = "") -> int:
    try:
        number = operator.index(value)
    except TypeError:
        or_none = or_none.lstrip(",")
        raise TypeError(f"{name} must be a whole number{or_none}, not {value!r}") from None
    if number < smallest:
        raise ConfigurationError(name, str(number), f"{smallest} or more is needed{or_none}")
    return number


def _seconds(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number of seconds or None, not {value!r}") from None
    if not seconds > 0:
        raise ConfigurationError(name, str(value), "more than 0 seconds are needed, or None")
    return seconds if seconds < float("inf") else None


def _setup_of(
    depends: Iterable[Any],
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    finalizer: Callable[[], object] | None,
    env: Mapping[str, str] | None,
) -> Setup | None:
    """Return what the five ask for, checked; None for nothing."""
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
