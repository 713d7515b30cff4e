"""Connected workers: which of them are idle, busy, draining or silent.

    joined --> idle --SendChunk--> half --SendChunk--> full        (one chunk, two chunks)
                ^                   |                   |
                +-------------------+---<-- done -------+

A worker that drains, or that is silent, is in neither queue: it gets nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from seppo.core.job import Attempt

STUCK_PAUSE = 1.0  # seconds without a new chunk for a worker that returned one untouched
SHORT_PAUSE = 0.05  # seconds; the same while the worker is interrupting an item of ours


@dataclass(eq=False)
class Worker:
    """One worker, as far as the scheduler knows it.

    Invariants: it holds two attempts at most. It is silent only while an answer is due
    (``asked_at``), and has echoes only while it is silent.
    """

    name: str
    heard_at: float  # when it last showed a sign of life
    attempts: dict[int, Attempt] = field(default_factory=dict)  # in the order of sending
    is_stuck: bool = False  # gave back the rest of its own accord: one item takes long
    paused_until: float = 0.0  # returned a chunk untouched: another client's item takes long
    interrupted_at: float = float("-inf")  # when an attempt of it was cancelled
    is_draining: bool = False
    is_silent: bool = False  # did not answer in time, and has shown no sign since
    asked_at: float | None = None  # since when an answer is due
    asked_about: int = 0  # of which attempt
    n_kills: int = 0  # how often its end was asked for, since it fell silent
    half_of: int | None = None  # the queue that it is in, if it is half busy
    echoes: set[int] = field(default_factory=set)  # attempts ended while it was silent

    @property
    def first(self) -> Attempt | None:
        """The attempt that it runs, or will run next."""
        return next(iter(self.attempts.values()), None)

    def move_on(self) -> None:
        """Take note that an item is done: it is not inside a long one any more."""
        self.is_stuck = False

    def give_back(self, now: float, is_untouched: bool) -> None:
        """Take note that it gave back a chunk of its own accord: something long runs there.

        Args:
            now: The time.
            is_untouched: Whether it has begun no item of the chunk.
        """
        if not is_untouched:
            self.is_stuck = True
        elif len(self.attempts) == 1:
            # Inside an item of another client, or of ours that is being interrupted.
            is_ours = now - self.interrupted_at < STUCK_PAUSE
            self.paused_until = now + (SHORT_PAUSE if is_ours else STUCK_PAUSE)

    def interrupt(self, now: float) -> None:
        """Take note that it is to drop an attempt that it may be running."""
        self.interrupted_at = now

    def ask(self, attempt: int, now: float) -> None:
        """Take note that it was asked for a sign; an answer that is due stays due."""
        if self.asked_at is None:
            self.asked_at, self.asked_about = now, attempt

    def count_kill(self) -> None:
        """Count that its end was asked for."""
        self.n_kills += 1


class Crew:
    """All workers of one scheduler.

    Attributes:
        workers: Those that are connected, by name.
        idle: Those without a chunk that may take one, longest waiting first.
        half: Those with one chunk that may take a second, by the job of the first.
        alone_since: When the last worker that takes work left.
        expected: How many more workers are about to join.
    """

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.idle: OrderedDict[str, Worker] = OrderedDict()
        self.half: dict[int, OrderedDict[str, Worker]] = {}
        self._is_news = False  # whether a worker became idle: see ``take_news``
        self.alone_since = 0.0
        self.expected = 0
        self._n_draining = 0
        self._echoes: dict[int, Worker] = {}

    @property
    def is_alone(self) -> bool:
        """Whether no worker will ever take another chunk."""
        return len(self.workers) == self._n_draining and not self.expected

    @property
    def strength(self) -> int:
        """How many workers there are, or will be in a moment; at least 1."""
        return max(1, len(self.workers) + self.expected)

    def expect(self, count: int, now: float) -> None:
        """Take note that so many workers are about to join."""
        was_alone, self.expected = self.is_alone, count
        if self.is_alone and not was_alone:
            self.alone_since = now

    def join(self, name: str, now: float) -> None:
        """Welcome a worker; one that is known already stays as it is."""
        if name not in self.workers:
            self.workers[name] = worker = Worker(name, now)
            self.place(worker)

    def lose(self, name: str, now: float) -> Worker | None:
        """Forget a worker and return it; None if it is not known."""
        worker = self.workers.pop(name, None)
        if worker is None:
            return None
        self._leave_queue(worker)
        self._forget_echoes(worker)
        if worker.is_draining:
            self._n_draining -= 1
        elif self.is_alone:
            self.alone_since = now
        return worker

    def drain(self, name: str, now: float) -> None:
        """Take note that a worker drains: it gets no other chunk."""
        worker = self.workers.get(name)
        if worker is not None and not worker.is_draining:
            worker.is_draining = True
            self._n_draining += 1
            if self.is_alone:
                self.alone_since = now
            self.place(worker)

    def place(self, worker: Worker) -> None:
        """Put the worker into the queue that fits the number of its chunks."""
        self._leave_queue(worker)
        if worker.is_draining or worker.is_silent or self.workers.get(worker.name) is not worker:
            return
        first = worker.first
        if first is None:
            self.idle[worker.name] = worker
            self._is_news = True
        elif len(worker.attempts) == 1:
            worker.half_of = first.job.number
            self.half.setdefault(worker.half_of, OrderedDict())[worker.name] = worker

    def _leave_queue(self, worker: Worker) -> None:
        if worker.half_of is None:
            self.idle.pop(worker.name, None)
            return
        queue = self.half[worker.half_of]
        del queue[worker.name]
        if not queue:
            del self.half[worker.half_of]
        worker.half_of = None

    def take_news(self) -> bool:
        """Return whether a worker became idle since the last call."""
        is_news, self._is_news = self._is_news, False
        return is_news

    # --- chunks

    def give(self, worker: Worker, attempt: Attempt) -> None:
        """Take note that a worker has one more attempt."""
        worker.attempts[attempt.number] = attempt
        self.place(worker)

    def take(self, worker: Worker, attempt: Attempt, now: float) -> None:
        """Take note that an attempt has ended; the next one of its worker begins."""
        was_first = worker.first is attempt
        del worker.attempts[attempt.number]
        if was_first and (following := worker.first) is not None:
            following.move_up(now)
        if worker.is_silent:
            worker.echoes.add(attempt.number)  # it will show that the worker is back
            self._echoes[attempt.number] = worker
        elif worker.asked_about == attempt.number:
            worker.asked_at = None  # the answer will not be recognized
        self.place(worker)

    # --- signs of life

    def hush(self, worker: Worker) -> None:
        """Take note that a worker is silent."""
        worker.is_silent = True
        worker.n_kills = 0
        self.place(worker)

    def echo(self, number: int) -> Worker | None:
        """Return the silent worker that had this attempt, which has ended; or None."""
        return self._echoes.get(number)

    def heard(self, worker: Worker, now: float) -> bool:
        """Take note of a sign of life; return whether the worker was silent before."""
        worker.heard_at = now
        worker.asked_at = None
        if not worker.is_silent:
            return False
        worker.is_silent = False
        self._forget_echoes(worker)
        self.place(worker)
        return True

    def _forget_echoes(self, worker: Worker) -> None:
        for number in worker.echoes:
            self._echoes.pop(number, None)
        worker.echoes.clear()
