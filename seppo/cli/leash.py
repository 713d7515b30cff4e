"""A leash for a program: it gets SIGTERM when the process that started it ends (Linux).

The kernel does the telling, and is asked to by the program's own process before it becomes
the program: a child that is forked from a process with threads should run no Python code
(``preexec_fn``), so a small interpreter comes first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_TIE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
if os.getppid() != int(sys.argv[1]):
    sys.exit(143)
os.execv(sys.argv[2], sys.argv[2:])
"""


def on_leash(command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` so that it gets SIGTERM when we are gone.

    Start it from a thread that lives on: Linux takes the thread for the parent.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
