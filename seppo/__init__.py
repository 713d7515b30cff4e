"""Simple embarrassingly parallel Python: ``map`` on every core of every machine.

    import seppo
    for result in seppo.map_parallel(func, items): ...

Importing this package loads no third-party package: names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seppo.errors import (
    ConfigurationError,
    InternalError,
    MapTimeoutError,
    NameServerError,
    NoWorkersError,
    ProtocolError,
    RemoteError,
    RemoteTraceback,
    SecurityError,
    SeppoError,
    SerializationError,
    SetupError,
    TaskTimeoutError,
    WorkerLostError,
)
from seppo.version import __version__ as __version__

if TYPE_CHECKING:
    from seppo.interfaces.executor import Executor as Executor
    from seppo.interfaces.parallel import map_parallel as map_parallel
    from seppo.interfaces.parallel import map_parallel_serial as map_parallel_serial
    from seppo.interfaces.server import (
        start_seppo_enslaved_server as start_seppo_enslaved_server,
    )
    from seppo.shipping.data import data_path as data_path
    from seppo.values.retry import Retry as Retry

__all__ = [
    "ConfigurationError",
    "Executor",
    "InternalError",
    "MapTimeoutError",
    "NameServerError",
    "NoWorkersError",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "Retry",
    "SecurityError",
    "SeppoError",
    "SerializationError",
    "SetupError",
    "TaskTimeoutError",
    "WorkerLostError",
    "data_path",
    "map_parallel",
    "map_parallel_serial",
    "start_seppo_enslaved_server",
]

_HOMES = {
    "Executor": "seppo.interfaces.executor",
    "Retry": "seppo.values.retry",
    "data_path": "seppo.shipping.data",
    "map_parallel": "seppo.interfaces.parallel",
    "map_parallel_serial": "seppo.interfaces.parallel",
    "start_seppo_enslaved_server": "seppo.interfaces.server",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
