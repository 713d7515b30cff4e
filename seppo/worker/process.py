"""The life of one worker process: first a spare, then leased to one client, then ended.

    spare     single-threaded, listens nowhere, waits on its control line
    leased    listens until its client has attached, and runs its items until the client leaves

The supervisor holds the other end of the control line. When the supervisor is gone, the line
ends, and so does the process.
"""

from __future__ import annotations

# Needed for addresses and for versions; imported here, while no client waits.
import email.parser  # noqa: F401
import encodings.idna  # noqa: F401
import importlib
import logging
import os
import platform
import resource
import select
import signal
import socket
import sys
from dataclasses import replace
from typing import Any

from seppo.place import enter_worker, machine_domain
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.version import PROTOCOL_VERSION, __version__
from seppo.wire.config import WorkerConfig, cpus, limit_threads
from seppo.wire.lastgasp import LastGasp
from seppo.wire.line import Line
from seppo.worker.channel import Channel
from seppo.worker.door import Door, Guest
from seppo.worker.service import WorkerService
from seppo.worker.sharing import sharing_domain
from seppo.worker.world import World

log = logging.getLogger(__name__)

PASSWORDS = ("PYRO_SSL_SERVERKEYPASSWD", "PYRO_SSL_CLIENTKEYPASSWD")
ATTACH = 30.0  # seconds that the client has for attaching


def run_worker(control: socket.socket, config: WorkerConfig, mark: int | None = None) -> None:
    """Be a worker process until its client or its supervisor is gone.

    Call it in the main thread of a process that does nothing else. A ``SystemExit`` says
    with which exit code the process is to end, if not with 0.

    Args:
        control: Our end of the control line.
        config: The supervisor's options.
        mark: Descriptor of the memory where to mark what runs, if the supervisor reads it.
    """
    _prepare_process(config)
    settings = _settings(config)
    credentials = Credentials(settings)
    credentials.check_server(config.host)  # now, while no client waits
    facts = _facts(config)
    memory = LastGasp(mark)
    line = Line(control)
    try:
        line.say(ready=True)
        lease = _wait_for_lease(line)
        if lease is None:
            return
        with Door(*lease, credentials) as door:
            line.say(address=str(door.address))
            guest = _wait_for_guest(line, door)
            if guest is None:
                return
            os.environ.update(_variables(guest.caller))
            world = World(config.name, settings.max_file_size or None)
            world.settle(guest.caller, machine_domain())
            channel = Channel(guest.sock, memory, settings.max_frame_bytes, world)
            channel.greet(facts)
    except (EOFError, OSError, ValueError) as error:
        log.info("this process ends: %s", error)  # most probably the supervisor is gone
        return
    status = WorkerService(channel, line, memory, config.max_items).serve()
    if status:
        raise SystemExit(status)


def _prepare_process(config: WorkerConfig) -> None:
    limit_threads(os.environ, config.threads)
    os.environ.update(
        PYRO_NS_HOST=config.ns_host,
        PYRO_NS_PORT=str(config.ns_port),
        SEPPO_KEY_FILE=config.key_file,
        SEPPO_INSECURE=str(int(config.insecure)),
    )
    enter_worker(config.name, config.group)
    # Ctrl-C in a terminal is the supervisor's business. A handler, unlike SIG_IGN, is not
    # inherited by programs that user code starts.
    signal.signal(signal.SIGINT, lambda *_: None)
    if config.nice:
        os.nice(config.nice)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    for name in config.preload:  # where we were forked, they are there already
        importlib.import_module(name)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:  # forked with its state: all workers would draw the same
        numpy_random.seed()
    if config.memory:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (config.memory, hard))


def _settings(config: WorkerConfig) -> Settings:
    settings = replace(
        Settings.load(), host=config.host, key_file=config.key_file, insecure=config.insecure
    )
    for name in PASSWORDS:
        os.environ.pop(name, None)  # not for user code and the programs that it starts
    return settings


def _wait_for_lease(line: Line) -> tuple[str, str] | None:
    """Return what to listen on for a client, and its token; None to end instead."""
    while True:
        select.select([line], [], [])
        messages = line.hear()
        if any("end" in told or "drain" in told for told in messages):
            return None  # also when the client has left with its lease still unread
        for told in messages:
            match told:
                case {"lease": {"host": str(host), "token": str(token)}}:
                    return host, token


def _wait_for_guest(line: Line, door: Door) -> Guest | None:
    """Return the client that we are leased to; None if it does not come."""
    while True:
        ready, _, _ = select.select([line.fileno(), door.fileno()], [], [], ATTACH)
        if door.fileno() in ready:
            return door.guest
        if not ready or any("end" in each or "drain" in each for each in line.hear()):
            return None


def _variables(caller: dict[str, Any]) -> dict[str, str]:
    """Return the environment variables that the caller wants to be set."""
    found = caller.get("env")
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _facts(config: WorkerConfig) -> dict[str, Any]:
    return {
        "seppo": __version__,
        "protocol": PROTOCOL_VERSION,
        "name": config.name,
        "group": config.group,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "cpus": cpus(),
        "supervisor": config.supervisor,
        "sharing": sharing_domain(),
    }


def main() -> None:
    """Entry point of ``python -m seppo.worker.process CONFIG FD [MARK]``: nothing forks."""
    control = socket.socket(fileno=int(sys.argv[2]))
    control.set_inheritable(False)
    mark = int(sys.argv[3]) if len(sys.argv) > 3 else None
    status = 0
    try:
        run_worker(control, WorkerConfig.from_json(sys.argv[1]), mark)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a thread of user code must not keep the process


if __name__ == "__main__":
    main()
