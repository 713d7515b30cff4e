"""The configuration of a worker process: its supervisor sends it, and both prepare for it."""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass

# Each of these makes a numerical library start a thread for every CPU; N processes that all
# do so slow each other down.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)


@dataclass(frozen=True)
class WorkerConfig:
    """The configuration of a new worker process.

    Attributes:
        name: Its name, unique among all worker processes.
        group: The group it belongs to.
        host: The address it will listen on for clients of other users and machines.
        supervisor: Its host's entry in the name server.
        threads: Threads for numerical libraries, unless the user has set them.
        ns_host: Host of the name server, for maps that the worker's items start.
        ns_port: Its port.
        key_file: Where the shared key is. The key itself is on no command line.
        insecure: Go without TLS off loopback.
        preload: Modules to import at once.
        memory: Bytes of data that it may have; 0 for any number.
        max_items: Items after which it ends; 0 for never.
        nice: By how much it stands back for other processes of the machine.
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
    preload: tuple[str, ...] = ()
    memory: int = 0
    max_items: int = 0
    nice: int = 0

    def to_json(self) -> str:
        """Return the configuration as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerConfig:
        """Return the configuration from its line."""
        values = json.loads(text)
        return cls(**{**values, "preload": tuple(values["preload"])})


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(environ: MutableMapping[str, str], threads: int) -> None:
    """Set the thread variables of numerical libraries that the user has not set."""
    for variable in THREAD_VARIABLES:
        environ.setdefault(variable, str(threads))
