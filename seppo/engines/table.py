"""The table of engines: which one runs the chunks of a map."""

from __future__ import annotations

from seppo.engines.base import Engine
from seppo.engines.pyro import PyroEngine
from seppo.settings import Settings


def engine_for(settings: Settings) -> Engine:
    """Return a new engine: that of the workers which the settings name."""
    return PyroEngine(settings)
