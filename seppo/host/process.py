"""One worker process in its supervisor: control line, mark, token."""

from __future__ import annotations

import logging
import secrets
import socket
from typing import Any

from seppo.errors import ProtocolError
from seppo.host.events import (
    FinalizerBegan,
    HostEvent,
    LeaseReady,
    LimitsBegan,
    LineBroken,
    SpareReady,
)
from seppo.host.pulse import Pulse
from seppo.wire.address import Address
from seppo.wire.lastgasp import LastGasp
from seppo.wire.line import Line

log = logging.getLogger(__name__)

RUBBISH = "it wrote invalid data to its control line"


class WorkerProcess:
    """A worker process: its control line, its mark and its token.

    Args:
        number: Its number.
        name: Its name.
        sock: Our end of its control line.
        memory: Where it marks what it runs.

    Attributes:
        pid: Its id, once it is known.
        token: What opens it to its client; empty while it is a spare.
        pulse: Whether it is frozen.
        is_heard: Whether its control line is open.
    """

    def __init__(self, number: int, name: str, sock: socket.socket, memory: LastGasp) -> None:
        self.number = number
        self.name = name
        self.line = Line(sock)
        self.memory = memory
        self.pid: int | None = None
        self.token = ""
        self.pulse = Pulse()
        self.is_heard = True

    def fileno(self) -> int:
        """Return the descriptor of the control line, for selectors."""
        return self.line.fileno()

    def has_started(self, pid: int) -> None:
        """Take note of its id."""
        self.pid = pid

    def lease(self, host: str) -> None:
        """Tell the process to listen for its client, with a new token.

        Args:
            host: What to listen on.
        """
        self.token = secrets.token_hex(16)
        self.say(lease={"token": self.token, "host": host})

    def close_line(self) -> None:
        """Close its control line: it is not heard any more."""
        self.is_heard = False
        self.line.close()

    def say(self, **message: Any) -> None:
        """Tell the process something; it hears it once its interpreter is free."""
        if self.is_heard:
            try:
                self.line.say(**message)
            except OSError as error:
                log.info("%s cannot be sent %s: %s", self.name, list(message), error)

    def hear(self) -> list[HostEvent]:
        """Return what the process has said, of which nothing is trusted."""
        try:
            return [self._event_of(told) for told in self.line.hear()]
        except (EOFError, OSError):
            return [LineBroken(self.number)]
        except (ValueError, ProtocolError) as error:
            log.warning("%s, process %s: %s", self.name, self.pid, error)
            return [LineBroken(self.number, RUBBISH)]

    def _event_of(self, told: dict[str, Any]) -> HostEvent:
        match told:
            case {"ready": True}:
                return SpareReady(self.number)
            case {"address": str(address)}:
                return LeaseReady(self.number, str(Address.parse(address)), self.token)
            case {"limits": True}:
                return LimitsBegan(self.number)
            case {"finalizer": True}:
                return FinalizerBegan(self.number)
        raise ValueError("an unknown message")

    def overview(self) -> dict[str, Any]:
        """Return who this is and what it runs, as plain values."""
        mark = self.memory.read()
        return {
            "name": self.name,
            "pid": self.pid,
            "busy": bool(mark.attempt),
            "setup": mark.setup,
            "attempt": mark.attempt,
            "first": mark.first,
            "stop": mark.stop,
        }
