"""The setup of a map: initializer, finalizer, environment, and the objects of ``depends``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from seppo.errors import SetupError
from seppo.shipping.depends import Depends
from seppo.values import script
from seppo.values.outcome import is_for_us


@dataclass(frozen=True)
class SetupFacts:
    """The parts of a setup that decide which world a function belongs to.

    Attributes:
        key: Names initializer and finalizer with their arguments; empty for none.
        env: Environment variables that its processes get.
        has_finalizer: Whether something is done after the last item.
    """

    key: bytes = b""
    env: tuple[tuple[str, str], ...] = ()
    has_finalizer: bool = False

    @property
    def name(self) -> bytes:
        """What differs between functions that cannot share a process."""
        return self.key + repr(self.env).encode() if self.env else self.key


@dataclass(frozen=True, eq=False)
class Setup:
    """The setup that a map's options ask for.

    Attributes:
        depends: The modules, files and objects that it needs.
        initializer: Called once on each worker, before the first item.
        initargs: Its arguments.
        finalizer: Called once on each worker where the initializer was, after the last item.
    """

    depends: Depends = field(default_factory=Depends)
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    finalizer: Callable[[], object] | None = None
    env: dict[str, str] = field(default_factory=dict)

    def facts(self, key: bytes) -> SetupFacts:
        """Return what a client has to know of it.

        Args:
            key: Names initializer and finalizer with their arguments, and all they need of
                ``__main__``.
        """
        has_begun = self.initializer is not None or self.finalizer is not None
        return SetupFacts(
            key if has_begun else b"", tuple(sorted(self.env.items())), self.finalizer is not None
        )

    def surroundings(self) -> Surroundings:
        """Return what travels with the function."""
        return Surroundings(
            self.initializer, self.initargs, self.finalizer, dict(self.depends.names)
        )


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The setup of a function where it runs: initializer, finalizer and objects."""

    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    finalizer: Callable[[], object] | None
    names: dict[str, Any]

    def begin(self, worker: str) -> None:
        """Provide the objects of ``depends``, and call the initializer.

        Raises:
            SetupError: If it fails.
        """
        self.provide(self.initializer, self.finalizer, *self.names.values())
        if self.initializer is None:
            return
        try:
            self.initializer(*self.initargs)
        except BaseException as error:  # sys.exit() there is not the end of the caller's script
            if is_for_us(error):
                raise
            raise SetupError(worker, "the initializer", _told(error)) from error

    def provide(self, *users: Any) -> None:
        """Let functions find the objects of ``depends`` as globals, where they have none."""
        for user in users if self.names else ():
            user = getattr(user, "__func__", user)
            if type(user) is FunctionType:
                script.provide(user.__globals__, self.names)


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # a user's __str__
        return type(error).__name__
