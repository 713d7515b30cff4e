"""Worker processes of a host: starts and kills, messages and ends."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Iterator

from seppo.host.births import describe_status
from seppo.host.events import (
    HelperAnswered,
    HelperEnded,
    HostEvent,
    LineBroken,
    ProcessEnded,
)
from seppo.host.health import oom_kills
from seppo.host.launcher import Ended, HelperLost, Killed, Launcher, Started
from seppo.host.process import WorkerProcess
from seppo.wire.config import WorkerConfig
from seppo.wire.lastgasp import LastGasp

log = logging.getLogger(__name__)


class Processes:
    """Carries out decisions about processes, and reports what happens to them.

    Args:
        launcher: Starts and kills them.
        selector: Waits for news of the launcher, whose key is without data, and of
            processes, which are the data of their keys.

    Attributes:
        by_number: Those that have not ended.
    """

    def __init__(self, launcher: Launcher, selector: selectors.BaseSelector) -> None:
        self.by_number: dict[int, WorkerProcess] = {}
        self._launcher = launcher
        self._selector = selector
        self._oom_kills = oom_kills()
        selector.register(launcher, selectors.EVENT_READ)

    def start(self, number: int, config: WorkerConfig) -> bool:
        """Start a process; return whether that was possible."""
        try:
            memory = LastGasp()
            try:
                sock = self._launcher.start(number, config, memory.fd)
            finally:
                memory.close()  # of the descriptor; the memory stays
        except OSError as error:
            log.error("no worker process can be started: %s", error)
            return False
        process = self.by_number[number] = WorkerProcess(number, config.name, sock, memory)
        self._selector.register(process, selectors.EVENT_READ, process)
        return True

    def say(self, number: int, **message: bool) -> None:
        """Tell a process something, if it could be started at all."""
        if number in self.by_number:
            self.by_number[number].say(**message)

    def kill(self, number: int, why: str) -> None:
        """Kill a process, if it could be started at all."""
        process = self.by_number.get(number)
        if process is None:
            return
        log.warning("%s, process %s, is killed: %s", process.name, process.pid, why)
        self._launcher.kill(number)

    def replace_helper(self) -> None:
        """Kill the launcher's helper, and start another one."""
        log.warning("the helper process that forks workers is killed: it does not answer")
        self._launcher.replace_helper()

    def hear_launcher(self) -> Iterator[HostEvent]:
        """Give what the launcher tells; each event is acted upon before the next is given.

        Raises:
            EOFError: If no process can be started any more.
        """
        for item in self._launcher.news():
            if isinstance(item, HelperLost):
                how = describe_status(item.status)
                log.warning("the helper process that forks workers is replaced: %s", how)
                yield HelperEnded()
                continue
            if isinstance(item, Started | Killed):
                yield HelperAnswered(item.number)
            process = self.by_number.get(item.number)
            match item:
                case Started(pid=pid) if process is not None:
                    process.has_started(pid)
                case Ended(status=status) if process is not None:
                    yield self._ended(process, status)

    def _ended(self, process: WorkerProcess, status: int) -> ProcessEnded:
        self._close_line(process)
        del self.by_number[process.number]
        kills = oom_kills()
        is_out_of_memory, self._oom_kills = kills > self._oom_kills, kills
        memory = process.memory
        log.info("%s, process %s, has ended with status %s", process.name, process.pid, status)
        return ProcessEnded(
            process.number, status, memory.read(), memory.has_begun, is_out_of_memory
        )

    def hear(self, process: WorkerProcess) -> Iterator[HostEvent]:
        """Give what a process has said."""
        for event in process.hear():
            if isinstance(event, LineBroken):
                self._close_line(process)
            yield event

    def _close_line(self, process: WorkerProcess) -> None:
        if process.is_heard:
            self._selector.unregister(process)
            process.close_line()

    def close(self) -> None:
        """End the launcher, which kills what is left."""
        self._launcher.close()
