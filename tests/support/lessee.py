"""A client of a host by hand: says hello, wants processes, attaches to them, sends chunks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from processes import CREDENTIALS, SupervisorProcess, wait_until

from seppo.pyro.proxy import attach
from seppo.values.batch import pack_values, unpack_all
from seppo.values.function import PackedFunction, pack_function
from seppo.values.setup import Setup
from seppo.wire.address import Address
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.messages import (
    Attach,
    Chunk,
    File,
    Hello,
    Leased,
    Message,
    Results,
    Returned,
    Want,
    Welcome,
    WorkerEnded,
)
from seppo.wire.stream import Stream


class Talk:
    """A connection on which messages are sent, and those that come are kept."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.heard: list[Message] = []

    def send(self, *messages: Message | PackedFunction) -> None:
        for message in messages:
            if isinstance(message, PackedFunction):  # its files first, so that none is asked for
                for digest, content in message.bundle.contents.items():
                    self.stream.send(*to_parts(File(bytes.fromhex(digest), content)))
                message = message.message
            self.stream.send(*to_parts(message))

    def listen(self) -> None:
        with suppress(EOFError):  # what came before counts
            self.stream.flush()
            self.heard += map(from_frame, self.stream.receive())

    def of_kind(self, kind: type) -> list[Any]:
        return [message for message in self.heard if isinstance(message, kind)]

    def wait_for(self, kind: type, count: int = 1, seconds: float = 20.0) -> list[Any]:
        """Return messages of a kind, once there are so many."""

        def enough() -> list[Any]:
            self.listen()
            found = self.of_kind(kind)
            return found if len(found) >= count else []

        return wait_until(enough, seconds=seconds, what=f"{count} {kind.__name__}")

    def has_ended(self) -> bool:
        """Whether the other side has hung up."""
        try:
            self.stream.flush()
            self.heard += map(from_frame, self.stream.receive())
        except (EOFError, OSError):
            return True
        return False

    def close(self) -> None:
        self.stream.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Lessee(Talk):
    """A client on the control channel of a supervisor."""

    def __init__(
        self, supervisor: SupervisorProcess, name: str = "tester@here:1 test.py", hello: bool = True
    ) -> None:
        super().__init__(Stream(attach(CREDENTIALS, supervisor.address, 10.0)))
        (self.welcome,) = self.wait_for(Welcome)
        if hello:
            self.send(Hello(name))
        self.workers: list[LeasedWorker] = []
        self._n_leased = 0

    def lease(self, count: int = 1, world: int = 1) -> list[LeasedWorker]:
        """Want so many processes more, and attach to them."""
        held = sum(worker.leased.world == world for worker in self.workers)
        self.send(Want(world, held + count))
        return self.attach(count)

    def attach(self, count: int = 1) -> list[LeasedWorker]:
        """Attach to the next processes that are leased to us."""
        leased = self.wait_for(Leased, self._n_leased + count)
        found = [LeasedWorker(one) for one in leased[self._n_leased : self._n_leased + count]]
        self._n_leased += count
        self.workers += found
        return found

    def ended(self, worker: LeasedWorker, seconds: float = 20.0) -> WorkerEnded:
        """Return how a process has ended, once it has."""

        def found() -> WorkerEnded | None:
            self.listen()
            ends = [one for one in self.of_kind(WorkerEnded) if one.name == worker.name]
            return ends[0] if ends else None

        return wait_until(found, seconds=seconds, what=f"{worker.name} ends")

    def close(self) -> None:
        super().close()
        for worker in self.workers:
            worker.close()


class LeasedWorker(Talk):
    """A process that was leased to us, and that we have attached to."""

    def __init__(self, leased: Leased, caller: dict[str, Any] | None = None) -> None:
        sock = CREDENTIALS.connect(Address.parse(leased.address), 10.0)
        super().__init__(Stream(sock))
        self.leased, self.name = leased, leased.name
        self.send(Attach(leased.token, caller or {}))
        (self.welcome,) = self.wait_for(Welcome)
        self._sent: dict[int, tuple[PackedFunction, list[Any], dict[str, Any]]] = {}
        self.pid: int = self.welcome.info["pid"]

    def run(
        self,
        attempt: int,
        func: Callable[[Any], Any],
        items: Any,
        setup: Setup | None = None,
        **options: Any,
    ) -> None:
        """Send a chunk with its function."""
        packed = pack_function(func, setup)
        self._sent[attempt] = packed, list(items), options
        self.send(packed, chunk(attempt, packed, list(items), **options))

    def outcomes(
        self, attempt: int, count: int, seconds: float = 20.0, again: bool = True
    ) -> list[Any]:
        """Return the outcomes of an attempt, once there are so many.

        What is given back is sent ``again``: on a busy machine anything may take a second.
        """

        def enough() -> bool:
            self.listen()
            if len(self.told(attempt)) >= count:
                return True
            for back in self.of_kind(Returned) if again else ():
                if back.attempt == attempt:
                    self.heard.remove(back)
                    self._send_rest(attempt, back.kept)
            return False

        wait_until(enough, seconds=seconds, what=f"{count} outcomes")
        return self.told(attempt)

    def _send_rest(self, attempt: int, kept: int) -> None:
        packed, items, options = self._sent[attempt]
        options = {**options, "index": options.get("index", 0) + kept}
        self._sent[attempt] = packed, items[kept:], options
        self.send(chunk(attempt, packed, items[kept:], **options))

    def told(self, attempt: int) -> list[Any]:
        """Return the outcomes of an attempt so far."""
        return [
            value
            for message in self.of_kind(Results)
            if message.attempt == attempt
            for value in unpack_all(message.batch, str)
        ]


def chunk(attempt: int, packed: PackedFunction, items: list[Any], **options: Any) -> Chunk:
    """Return a chunk of one column; ``index`` is 0 unless it is given."""
    column = pack_values(items, lambda i: f"item {i}")
    values = {"job": 1, "index": 0, **options}
    return Chunk(
        attempt=attempt, count=len(items), digest=packed.digest, columns=(column,), **values
    )
