"""The content of a packed function, where it is more than one pickle.

    setup        what is done before the function itself is unpickled (``django.setup()``)
    definitions  what of the caller's ``__main__`` they need, each name on its own
    function     its own pickle, which refers to these

It is one pickle again, with all their buffers beside it: on its way it is like any other.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seppo.values import script
from seppo.values.definitions import Defined, combined, digest_of
from seppo.values.script import Definition
from seppo.values.serialize import OUT_OF_BAND, load
from seppo.wire.packed import Buffer, Packed


@dataclass(frozen=True)
class Content:
    """A function with what it needs.

    Attributes:
        func: Its pickle.
        definitions: What it finds in ``__main__``, and what its setup does; in order.
        absent: Names that it looks up there, and that are not defined.
        early: How many of the definitions the setup needs.
        setup: The pickle of what is done before and after, if anything is.
        setup_key: Names what is done before: equal for functions that can share it.
    """

    func: Packed
    definitions: tuple[Definition, ...] = ()
    absent: tuple[str, ...] = ()
    early: int = 0
    setup: Packed | None = None
    setup_key: bytes = b""

    @classmethod
    def of(
        cls, func: Packed, defined: Defined, setup: Packed | None = None, setup_key: bytes = b""
    ) -> Content:
        """Return the content of a function."""
        absent = tuple(sorted(defined.absent))
        return cls(func, defined.definitions, absent, defined.early, setup, setup_key)

    def digest(self) -> bytes:
        """Return a hash of all of it."""
        parts = [digest_of(self.func), *(definition.key for definition in self.definitions)]
        parts += ["\n".join(self.absent).encode(), self.early.to_bytes(8, "big"), self.setup_key]
        if self.setup is not None:
            parts.append(digest_of(self.setup))
        return combined(combined([part]) for part in parts)

    def pack(self, copy_buffers: bool = False) -> Packed:
        """Return it as one pickle, whose buffers are those of its parts, or copies of them."""
        buffers: list[Buffer] = []

        def keep(buffer: pickle.PickleBuffer) -> None:
            buffers.append(bytearray(buffer) if copy_buffers else buffer.raw())

        return Packed(pickle.dumps(self, 5, buffer_callback=keep), tuple(buffers))

    def __reduce__(self) -> Any:
        definitions = [
            (made.names, made.key, *_parts(made), made.is_needed, made.problem)
            for made in self.definitions
        ]
        setup = None if self.setup is None else _parts(self.setup)
        rest = self.absent, self.early, setup, self.setup_key
        return _content, (_parts(self.func), definitions, *rest)

    # --- where it runs

    def load_setup(self) -> Any:
        """Return what is to be done before and after; with no more of ``__main__`` than that needs.

        Raises:
            Exception: Whatever unpickling raises.
        """
        assert self.setup is not None
        script.enter(self.definitions[: self.early])
        return script.load(self.setup)

    def load_func(self) -> Callable[..., Any]:
        """Return the function, with ``__main__`` as it is to find it.

        Raises:
            Exception: Whatever unpickling raises.
        """
        self.enter()
        func: Callable[..., Any] = script.load(self.func)
        return func

    def enter(self) -> None:
        """Have ``__main__`` be what the function is to find.

        Raises:
            Exception: Whatever unpickling raises.
        """
        script.enter(self.definitions, self.absent)


def _parts(packed: Any) -> tuple[Any, list[pickle.PickleBuffer]]:
    data = packed.data if len(packed.data) < OUT_OF_BAND else pickle.PickleBuffer(packed.data)
    return data, [pickle.PickleBuffer(buffer) for buffer in packed.buffers]


def _content(
    func: tuple[Any, list[Any]], definitions: list[tuple[Any, ...]], *rest: Any
) -> Content:
    absent, early, setup, setup_key = rest
    return Content(
        Packed(func[0], tuple(func[1])),
        tuple(
            Definition(names, key, data, tuple(buffers), *facts)
            for names, key, data, buffers, *facts in definitions
        ),
        absent,
        early,
        None if setup is None else Packed(setup[0], tuple(setup[1])),
        setup_key,
    )


def open_function(packed: Packed) -> Callable[..., Any]:
    """Return a function of which nothing has to be set up, wherever it was packed.

    Raises:
        Exception: Whatever unpickling raises.
    """
    found: Any = load(packed)
    func: Callable[..., Any] = found.load_func() if type(found) is Content else found
    return func
