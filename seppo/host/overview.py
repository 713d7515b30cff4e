"""Overview of a host for ``seppo status``: spares, clients and their processes."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from typing import Any

from seppo.host.process import WorkerProcess
from seppo.host.slot import Stage
from seppo.host.slots import Slots
from seppo.version import PROTOCOL_VERSION, __version__
from seppo.wire.config import cpus


def facts() -> dict[str, Any]:
    """Return who this process is, for the name server and for clients."""
    return {
        "seppo": __version__,
        "protocol": PROTOCOL_VERSION,
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "cpus": cpus(),
    }


def overview(slots: Slots, processes: Mapping[int, WorkerProcess]) -> dict[str, Any]:
    """Return the spares and, for each client, its processes and what they run."""
    clients = [
        {
            "name": tenant.name,
            "wanted": {str(one.world): one.count for one in tenant.demands.values()},
            "processes": [
                {"world": slot.world, **processes[slot.number].overview()}
                for slot in slots
                if slot.client is client and slot.stage is Stage.LEASED
            ],
        }
        for client, tenant in slots.tenants.items()
    ]
    spares = [
        processes[slot.number].pid
        for slot in slots
        if slot.stage is Stage.SPARE and slot.number in processes
    ]
    return {"spares": spares, "clients": clients}
