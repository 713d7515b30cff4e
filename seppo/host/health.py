"""Health of a machine for ``seppo doctor``: clock, versions, free memory and disk."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import Any

from seppo.errors import NameServerError, SecurityError
from seppo.pyro.nameserver import NameServer
from seppo.settings import Settings
from seppo.shipping.bundle import environment_here
from seppo.trust.credentials import Credentials


def health(settings: Settings, credentials: Credentials) -> dict[str, Any]:
    """Return clock, versions, free memory and disk, and whether the name server answers."""
    folder = tempfile.gettempdir()
    try:
        NameServer(settings, credentials).names()
        nameserver = ""
    except (NameServerError, SecurityError) as error:
        nameserver = str(error)
    return {
        "time": time.time(),
        "versions": environment_here(()),
        "memory": free_memory(),
        "folder": folder,
        "disk": shutil.disk_usage(folder).free,
        "nameserver": nameserver,
    }


def free_memory() -> int | None:
    """Return the bytes that can be had without swapping; None where nobody tells."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def oom_kills() -> int:
    """Return how many processes this machine has killed for want of memory, if it tells."""
    try:
        with open("/proc/vmstat") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
