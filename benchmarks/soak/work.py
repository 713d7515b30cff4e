"""The maps of a soak run, each checked against builtin ``map``."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

import seppo
from seppo.interfaces.parallel import map_parallel

RETRIES = 50  # the same item may be hit again and again: that is not its fault


class Work:
    """Runs maps one after the other.

    Args:
        seed: Of the random choices.

    Attributes:
        counts: How often what was done.
        wrong: What came out wrong, in words.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def one(self) -> None:
        """Run one map of a random kind."""
        kinds = [
            self._numbers,
            self._naps,
            self._arrays,
            self._endless,
            self._failures,
            self._calls,
        ]
        kind = self._random.choice(kinds)
        kind()
        self.counts[kind.__name__.strip("_")] += 1

    def _compare(self, what: str, got: object, expected: object) -> None:
        if got != expected:
            self.wrong.append(f"{what}: {str(got)[:200]} instead of {str(expected)[:200]}")

    def _numbers(self) -> None:
        n, k = self._random.randrange(20_000), self._random.randrange(100)
        got = list(map_parallel(lambda x: x * k, range(n), retries_on_loss=RETRIES))
        self._compare("numbers", got, [x * k for x in range(n)])

    def _naps(self) -> None:
        naps = [self._random.expovariate(100) for _ in range(self._random.randrange(1, 100))]

        def nap(seconds: float) -> float:
            time.sleep(seconds)
            return seconds

        self._compare("naps", list(map_parallel(nap, naps, retries_on_loss=RETRIES)), naps)

    def _arrays(self) -> None:
        arrays = [np.full(self._random.randrange(200_000), i) for i in range(20)]
        got = map_parallel(lambda a: a + 1, arrays, retries_on_loss=RETRIES)
        same = [bool((a == b + 1).all()) for a, b in zip(got, arrays, strict=True)]
        self._compare("arrays", same, [True] * len(arrays))

    def _endless(self) -> None:
        stop = self._random.randrange(1, 3000)

        def numbers() -> Iterator[int]:
            x = 0
            while True:
                yield x
                x += 1

        got = []
        with map_parallel(lambda x: -x, numbers(), retries_on_loss=RETRIES) as results:
            for result in results:
                got.append(result)
                if len(got) == stop:
                    break
        self._compare("endless", got, [-x for x in range(stop)])

    def _failures(self) -> None:
        got = list(
            map_parallel(
                lambda x: 1 / (x % 7), range(200), return_exceptions=True, retries_on_loss=RETRIES
            )
        )
        shape = [isinstance(value, ZeroDivisionError) for value in got]
        self._compare("failures", shape, [x % 7 == 0 for x in range(200)])

    def _calls(self) -> None:
        with seppo.Executor() as executor:
            futures = [executor.submit(divmod, 1000 + i, 7) for i in range(50)]
            got = []
            for future in futures:
                try:
                    got.append(future.result())
                except seppo.WorkerLostError:
                    got.append(None)  # its tries are not ours to set
        expected = [divmod(1000 + i, 7) for i in range(50)]
        self._compare("calls", [g or e for g, e in zip(got, expected, strict=True)], expected)
