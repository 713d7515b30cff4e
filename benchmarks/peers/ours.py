"""seppo, with workers that ``seppo run`` has started."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.functions import square
from benchmarks.peers.base import CHILD, Peer


class Seppo(Peer):
    """``seppo.map_parallel`` and ``seppo.Executor``, without any option."""

    name = "seppo"
    title = "seppo"
    package = module = "seppo"
    note = "no options; workers and name server from 'seppo run'"
    is_lazy = True
    startup = (
        "import seppo\n"
        "print(next(seppo.map_parallel(abs, [1], fallback='error')), flush=True)\n"
    )  # fmt: skip

    @classmethod
    def command(cls, n_workers: int) -> list[str]:
        """See ``Peer``."""
        workers = ["-n", str(n_workers)]
        return [sys.executable, "-m", "seppo", "run", *workers, "-m", CHILD, cls.name, workers[1]]

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        import seppo

        self.seppo = seppo
        self.map(square, range(10 * n_workers), 1)
        self.executor = seppo.Executor()

    def close(self) -> None:
        """See ``Peer``."""
        self.executor.shutdown(cancel_futures=True)

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return list(self.seppo.map_parallel(func, items, fallback="error"))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``."""
        return self.seppo.map_parallel(func, items, fallback="error")

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """See ``Peer``."""
        return self.executor.submit(func, argument)
