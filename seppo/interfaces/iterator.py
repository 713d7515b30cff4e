"""The iterator that ``map_parallel`` returns: ``itertools.chain`` over parts of results.

A loop over it, ``list`` and ``next()`` go through the values of a part at C speed, and
there is one object with one position, however it is iterated over.

A chain has ended as soon as its source raises anything, and Ctrl-C may be raised at the
entry of every Python function. So the source is made of C code alone, which
never raises. It gives the part that is ready, or else a *door*: an iterator without
values, which calls ``MapResults.open_next`` before it says so. What that raises passes
through the chain, which asks the same door again afterwards::

    chain <-- source: ready.pop("part", door)     END ends it
    door  --> MapResults.open_next: waits for results, puts the next part into ``ready``

Several threads may go through one chain. Whatever one of them drops that another one is
about to take (a chain has room for one part) ``open_next`` gives again, as long as there
are results in it; and the door lives as long as the chain.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from seppo.interfaces.methods import MapMethods
from seppo.interfaces.results import END, PART, MapResults, call_again

R = TypeVar("R")


# type-arg: chain takes no parameters where it runs, only in the type checker.
class ParallelMap(MapMethods, itertools.chain, Generic[R]):  # type: ignore[type-arg]
    """Results of a map, lazily, in input order unless the caller asked otherwise."""

    _results: MapResults[R]
    _door: Iterator[Any]

    if TYPE_CHECKING:

        def __next__(self) -> R: ...

    @classmethod
    def over(cls, results: MapResults[R]) -> ParallelMap[R]:
        """Return an iterator over the results."""
        # Yields nothing: the second iterator of the pairs has ended whenever it is asked.
        door: Iterator[Any] = zip(call_again(results.open_next), (), strict=False)
        # assignment: typeshed says that from_iterable gives a chain; it gives a cls.
        made: ParallelMap[R] = cls.from_iterable(_source(results, door))  # type: ignore[assignment]
        made._results, made._door, made._n_results = results, door, results.length
        results.resume = partial(_resume, weakref.ref(made))
        return made

    def cancel(self) -> None:
        """Drop what is not done: items that run are interrupted, and the workers are free.

        Results that are here already can still be taken; after them the iteration ends.
        From any thread.
        """
        self._results.cancel()

    def close(self) -> None:
        """Give the map up: workers drop what is left of it, and no more results come."""
        self._results.close()

    def __del__(self) -> None:
        if (results := self.__dict__.get("_results")) is not None:
            results.close()


class _Resumed(ParallelMap[R]):
    """A map after an item that raised ``StopIteration``, which ended its chain.

    With ``map()`` it ends the loop, and the next one goes on with the next item. So does
    this, with a chain for each result.
    """

    def __next__(self) -> R:
        for result in itertools.chain.from_iterable(_source(self._results, self._door)):
            value: R = result
            return value
        raise StopIteration


def _source(results: MapResults[R], door: Iterator[Any]) -> Iterator[Any]:
    return iter(partial(results.ready.pop, PART, door), END)


def _resume(made: weakref.ref[ParallelMap[Any]]) -> None:
    if (found := made()) is not None:
        found.__class__ = _Resumed
