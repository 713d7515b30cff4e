"""What happens to the workers while maps run: each kind of misfortune, at random."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

from benchmarks.soak.site import Site

PAUSES = (0.2, 2.0)  # seconds between two misfortunes
FREEZES = (0.5, 6.0)  # seconds that a worker stays stopped


class Chaos:
    """Does to a site what can happen to one, until it is told to stop.

    Args:
        site: The site; one supervisor is never touched, so that maps can end.
        seed: Of the random choices.

    Attributes:
        counts: How often what has happened.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self.counts: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._frozen: dict[int, float] = {}  # stopped processes, and when they go on
        self._thread = threading.Thread(target=self._run, name="chaos")

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        misfortunes = [self._kill, self._kill, self._freeze, self._join_or_leave, self._forget]
        try:
            while not self._stop.wait(self._random.uniform(*PAUSES)):
                self._thaw(time.monotonic())
                misfortune = self._random.choice(misfortunes)
                misfortune()
                self.counts[misfortune.__name__.strip("_").replace("_", " ")] += 1
        except BaseException as error:  # told by whoever waits for us
            self.error = error
        finally:
            self._thaw(float("inf"))

    def _victim(self) -> int | None:
        pids = [pid for pid in self._site.worker_pids() if pid not in self._frozen]
        return self._random.choice(pids) if len(pids) > 1 else None

    def _kill(self) -> None:
        pid = self._victim()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, self._random.choice([signal.SIGKILL, signal.SIGSEGV]))

    def _freeze(self) -> None:
        pid = self._victim()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._frozen[pid] = time.monotonic() + self._random.uniform(*FREEZES)

    def _thaw(self, now: float) -> None:
        for pid in [pid for pid, due in self._frozen.items() if due <= now]:
            del self._frozen[pid]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _join_or_leave(self) -> None:
        if "guest" in self._site.supervisors:
            self._thaw(float("inf"))  # to drain, a supervisor waits for what its workers run
            number = self._random.choice([signal.SIGTERM, signal.SIGKILL])
            self._site.stop_supervisor("guest", number)
        else:
            self._site.start_supervisor("guest", 1)

    def _forget(self) -> None:
        self._site.stop_nameserver()
        self._site.start_nameserver()
