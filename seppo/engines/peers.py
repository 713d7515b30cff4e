"""Connected workers, as the engine sees them."""

from __future__ import annotations

from seppo.engines.discovery import Arrival
from seppo.errors import ProtocolError
from seppo.payload.protocol import Chunk, Function, Message
from seppo.transport.address import Address
from seppo.transport.stream import Stream


class Peer:
    """A connected worker."""

    def __init__(self, arrival: Arrival) -> None:
        self.name = arrival.name
        self.address = arrival.address
        self.stream: Stream = arrival.stream
        self.sharing: str | None = arrival.facts.get("sharing")
        self.channel = _number(arrival.facts.get("channel"))
        self.supervisor = _address(arrival.facts.get("supervisor"))
        self.is_writing = False


def _number(value: object) -> int:
    return value if type(value) is int and 0 < value < 1 << 63 else 0


def _address(value: object) -> Address | None:
    try:
        return Address.parse(str(value))
    except ProtocolError:
        return None


def lender_of(message: Message) -> int | bytes | None:
    """Return whose memory a message may consist of: that of a job, or of a function's jobs."""
    match message:
        case Chunk(job=job):
            return job
        case Function(function=function):
            return function.digest
    return None
