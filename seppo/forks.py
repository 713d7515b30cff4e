"""Forked children: what is done at their start, and locks that they need anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def in_children(do: Callable[[], object]) -> None:
    """Have ``do`` called at the start of every process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=do)


def renew_in_children(module: dict[str, Any], name: str, lock: Callable[[], object]) -> None:
    """Have forked children begin with a new lock: another thread may hold it at the fork.

    Args:
        module: The globals of the lock's module.
        name: The lock's name there.
        lock: What makes a new one.
    """
    in_children(lambda: module.update({name: lock()}))
