"""Who runs what when: rounds of peers interleaved in rotating order, limits of time."""

from __future__ import annotations

import importlib.util
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS, NotOffered
from benchmarks.process import Child, ChildError
from benchmarks.results import Entry, Measured, Results
from benchmarks.workloads import Workload

SLOW = 5.0  # seconds; who needs more in a first round gets no further ones
START = 60.0  # seconds until a peer's workers are ready
RESTARTS = 2  # times that a peer which failed is started again, for other workloads


@dataclass
class Record:
    """What is known of a peer apart from its times.

    Attributes:
        version: Of its distribution.
        started: seconds from nothing to warm workers.
        problem: Why it does not take part, or "".
        left: Processes it left behind at the end.
        fails: How often its child had to be ended.
    """

    version: str = ""
    started: float | None = None
    problem: str = ""
    left: list[str] = field(default_factory=list)
    fails: int = 0


class Runner:
    """Runs workloads on peers.

    Args:
        peers: Names of peers.
        n_workers: Workers of each.
        directory: For logs and temporary files of the children.
        timeout: Seconds that one round of one workload may take.
    """

    def __init__(
        self, peers: Iterable[str], n_workers: int, directory: Path, timeout: float
    ) -> None:
        self.n_workers = n_workers
        self.timeout = timeout
        self.records = {name: Record() for name in peers}
        self._directory = directory
        self._children: dict[str, Child] = {}

    def start(self) -> None:
        """Start the peers, one after the other, so that none disturbs the next."""
        for name in self.records:
            self._start(name)

    def close(self) -> None:
        """End all peers and note what they leave behind."""
        for child in self._children.values():
            child.say_goodbye()
        while self._children:
            name, child = self._children.popitem()
            self.records[name].left += child.close()

    def run(self, workload: Workload, sizes: dict[str, Any], rounds: int) -> Results:
        """Return the figures of all peers; a peer that fails is noted and left out."""
        params = {**sizes, "n_workers": self.n_workers}
        results = Results(params, self.n_workers)
        names = list(self.records)
        results.entries = {name: Entry(problem=self._absence(name)) for name in names}
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                entry = results.entries[name]
                if self._takes_part(name, entry):
                    self._run_once(name, workload, params, number, entry)
        return results

    def _takes_part(self, name: str, entry: Entry) -> bool:
        if entry.problem or entry.not_offered or name not in self._children:
            return False
        return not any(one.seconds > SLOW for one in entry.rounds.values())

    def _run_once(
        self, name: str, workload: Workload, params: dict[str, Any], number: int, entry: Entry
    ) -> None:
        request = {"workload": workload.name, "params": params, "round": number}
        try:
            answer = self._children[name].ask(request, self.timeout)
        except ChildError as error:
            entry.problem = str(error)
            self._replace(name)
            return
        entry.problem = answer.get("error", "")
        entry.not_offered = answer.get("not_offered", "")
        if "seconds" in answer:
            entry.rounds[number] = Measured(answer["seconds"], answer["facts"])

    def _absence(self, name: str) -> str:
        return "" if name in self._children else self.records[name].problem or "not running"

    def _replace(self, name: str) -> None:
        """End a child that failed, and start another for what comes next."""
        record = self.records[name]
        self._children.pop(name).close(is_orderly=False)
        record.fails += 1
        if record.fails > RESTARTS:
            record.problem = f"failed {record.fails} times, not started again"
        else:
            self._start(name)

    def _start(self, name: str) -> None:
        peer, record = PEERS[name], self.records[name]
        if peer.module and importlib.util.find_spec(peer.module) is None:
            record.problem = "not installed"
            return
        say(f"starting {peer.title}")
        token = uuid.uuid4().hex
        start = time.monotonic()
        try:
            child = Child(peer, self.n_workers, self._directory, token)
        except (NotOffered, OSError) as reason:
            record.problem = str(reason)
            return
        self._children[name] = child
        try:
            hello = child.answer(START)
        except ChildError as error:
            hello = {"error": str(error)}
        if "error" in hello:
            record.problem = f"did not start: {hello['error']}"
            del self._children[name]
            child.close(is_orderly=False)
            return
        record.version = hello["version"]
        if record.started is None:
            record.started = time.monotonic() - start


def say(text: str) -> None:
    """Tell on stderr what goes on."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
