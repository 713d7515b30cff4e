"""The life of one worker process, from its birth to its end.

Its supervisor holds the other end of ``control``. The worker says there, as lines of
JSON, when it is ready, and when items with a time limit begin; the supervisor says which
client is gone, and when to drain. When the supervisor is gone, the line ends, and so does
the worker.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, replace
from functools import partial

import seppo
from seppo.payload.place import enter_worker
from seppo.payload.protocol import PROTOCOL_VERSION
from seppo.settings import Settings
from seppo.transport.credentials import Credentials
from seppo.transport.daemon import ControlDaemon
from seppo.worker.code import CodeStore
from seppo.worker.health import health
from seppo.worker.lastgasp import LastGasp
from seppo.worker.service import WorkerService
from seppo.worker.sharing import sharing_domain

log = logging.getLogger(__name__)

OBJECT = "seppo.worker"

# Each of these makes a numerical library start a thread for every CPU; N workers that all
# do so slow each other down.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)

PASSWORDS = ("PYRO_SSL_SERVERKEYPASSWD", "PYRO_SSL_CLIENTKEYPASSWD")


@dataclass(frozen=True)
class WorkerConfig:
    """What a new worker is told.

    Attributes:
        name: Its name, unique among all workers.
        group: The group it belongs to.
        host: The address it listens on.
        supervisor: URI of its supervisor's control object.
        threads: Threads for numerical libraries, unless the user has set them.
        ns_host: Host of the name server, for maps that the worker's items start.
        ns_port: Its port.
        key_file: Where the shared key is. The key itself is on no command line.
        insecure: Go without TLS off loopback.
    """

    name: str
    group: str
    host: str
    supervisor: str
    threads: int
    ns_host: str
    ns_port: int
    key_file: str = ""
    insecure: bool = False

    def to_json(self) -> str:
        """Return the configuration as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerConfig:
        """Return the configuration from its line."""
        return cls(**json.loads(text))


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(environ: MutableMapping[str, str], threads: int) -> None:
    """Set the thread variables of numerical libraries that the user has not set."""
    for variable in THREAD_VARIABLES:
        environ.setdefault(variable, str(threads))


def run_worker(control: socket.socket, config: WorkerConfig, mark: int | None = None) -> None:
    """Be a worker until it has drained, the supervisor is gone, or a signal ends the process.

    Call it in the main thread of a process that does nothing else.

    Args:
        control: Our end of the control line.
        config: What the supervisor told.
        mark: Descriptor of the memory where to mark what runs, if the supervisor reads it.
    """
    _prepare_process(config)
    facts = {
        "seppo": seppo.__version__,
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
    settings = _settings(config)
    credentials = Credentials(settings)
    facts["encrypted"] = credentials.is_encrypted(config.host)
    memory = LastGasp(mark)

    def tell_limits() -> None:
        try:
            control.sendall(b'{"limits": true}\n')
        except OSError:
            pass  # the supervisor is gone; so is this process, any moment

    code = CodeStore(config.name, settings.max_file_size or None)
    service = WorkerService(
        facts, memory, tell_limits, max_frame_bytes=settings.max_frame_bytes, code=code
    )
    daemon = ControlDaemon(
        OBJECT,
        config.host,
        0,
        calls={
            "info": service.info,
            "ping": lambda: "pong",
            "health": partial(health, settings, credentials),
        },
        on_attach=service.attach,
        credentials=credentials,
    )
    os.register_at_fork(after_in_child=service.leave_to_parent)
    os.register_at_fork(after_in_child=daemon.abandon)
    os.register_at_fork(after_in_child=control.close)
    daemon.start()
    ready = {"uri": str(daemon.address), "facts": {k: str(v) for k, v in facts.items()}}
    control.sendall(json.dumps(ready).encode() + b"\n")
    obey = threading.Thread(
        target=_obey, args=(control, service, code), name="seppo-lifeline", daemon=True
    )
    obey.start()
    service.serve()
    code.close()


def _settings(config: WorkerConfig) -> Settings:
    settings = replace(
        Settings.load(), host=config.host, key_file=config.key_file, insecure=config.insecure
    )
    for name in PASSWORDS:
        os.environ.pop(name, None)  # user code and what it starts need not know them
    return settings


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
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:  # forked with its state: all workers would draw the same
        numpy_random.seed()


def _obey(control: socket.socket, service: WorkerService, code: CodeStore) -> None:
    """Do what the supervisor says; end this process when its end of the line is closed."""
    inbox = b""
    try:
        while data := control.recv(4096):
            *lines, inbox = (inbox + data).split(b"\n")
            for line in lines:
                told = json.loads(line)
                if "drop" in told:
                    service.drop(told["drop"])
                if "drain" in told:
                    service.drain()
    except OSError:
        pass
    finally:
        code.close()
        os._exit(0)


def main() -> None:
    """Start point of ``python -m seppo.worker.process CONFIG FD [MARK]``: nothing forks."""
    control = socket.socket(fileno=int(sys.argv[2]))
    control.set_inheritable(False)
    mark = int(sys.argv[3]) if len(sys.argv) > 3 else None
    run_worker(control, WorkerConfig.from_json(sys.argv[1]), mark)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread of user code must not keep the process


if __name__ == "__main__":
    main()
