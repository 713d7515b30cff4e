"""Where in the caller's code a call of seppo stands: warnings point there."""

from __future__ import annotations

import sys


def level_of_caller() -> int:
    """Return the ``stacklevel`` for a warning that is to point at the caller's own line."""
    level = 2
    while True:
        try:
            frame = sys._getframe(level)
        except ValueError:
            return 2
        if not str(frame.f_globals.get("__name__", "")).startswith("seppo."):
            return level
        level += 1
