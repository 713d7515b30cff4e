"""``seppo run``: a script with a private name server and workers, gone when it ends."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from seppo.cli.leash import on_leash
from seppo.cli.worker import add_count, workers_wanted
from seppo.host.launcher import Launcher, launcher
from seppo.host.local import local_host
from seppo.host.options import HostOptions
from seppo.host.supervisor import Supervisor
from seppo.place import INSIDE
from seppo.pyro.registry import NameServerThread, ignore_warnings_of_parsers
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.trust.keyfile import ensure_key
from seppo.worker.process import run_worker

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # to the script
START = 30.0  # seconds that the workers may take until they are ready


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "run",
        help="run a script with workers of its own",
        usage="seppo run [-n N] SCRIPT [ARGS ...]\n       seppo run [-n N] -m MODULE [ARGS ...]",
        description="Run a Python script with a private name server and workers on this "
        "machine; they end with it. The exit code is the script's.",
    )
    add_count(parser)
    parser.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module")
    parser.add_argument("script", metavar="SCRIPT", help="the script, or with -m the module")
    parser.add_argument("arguments", metavar="ARGS", nargs=argparse.REMAINDER)
    parser.set_defaults(verb="run", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Start everything, run the script, end everything; return the script's exit code."""
    is_file = not arguments.module and arguments.script != "-"
    if is_file and not os.path.exists(arguments.script):
        raise OSError(f"there is no script {arguments.script!r}")
    options = HostOptions(workers_wanted(arguments.count))
    # Forks: before the name server starts threads.
    forker = launcher(run_worker, threads=options.threads)
    with _throw_away_key() as key_file:
        return _run_with(arguments, forker, options, key_file)


@contextmanager
def _throw_away_key() -> Iterator[str]:
    """Give the path of a key that nobody else has, and that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="seppo-") as folder:  # its mode is 0700
        path = Path(folder) / "key"
        ensure_key(path)
        yield str(path)


def _run_with(
    arguments: argparse.Namespace, forker: Launcher, options: HostOptions, key_file: str
) -> int:
    host = local_host() or "127.0.0.1"
    settings = replace(Settings.load(), host=host, key_file=key_file)
    ignore_warnings_of_parsers()
    # No thread but this one gets them: a signal that another one gets wakes nobody here.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    try:
        nameserver = NameServerThread(host, 0, Credentials(settings))
        settings = replace(
            settings, ns_host=nameserver.host, ns_port=nameserver.port or settings.ns_port
        )
        supervisor = Supervisor(settings, options, forker)
        thread = threading.Thread(target=_supervise, args=(supervisor,), name="seppo-supervisor")
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        if not supervisor.wait_until_ready(START):
            thread.join(1.0)
            if not thread.is_alive():
                return 1  # it has told why it gave up
            raise RuntimeError(f"the workers were not ready within {START:g} s")
        return _run_script(arguments, settings)
    finally:
        supervisor.stop()
        thread.join()
        nameserver.close()


def _supervise(supervisor: Supervisor) -> None:
    try:
        supervisor.run()
    except RuntimeError as error:
        print(f"seppo run: {error}", file=sys.stderr)


def _run_script(arguments: argparse.Namespace, settings: Settings) -> int:
    command = [sys.executable, *(["-m"] if arguments.module else []), arguments.script]
    environ = {
        **{name: value for name, value in os.environ.items() if name != INSIDE},
        "PYRO_NS_HOST": settings.ns_host,
        "PYRO_NS_PORT": str(settings.ns_port),
        "SEPPO_KEY_FILE": settings.key_file,
    }
    with subprocess.Popen(on_leash([*command, *arguments.arguments]), env=environ) as script:

        def forward(number: int, frame: FrameType | None) -> None:
            # Ctrl-C in a terminal reaches the script without us.
            if number != signal.SIGINT or not _is_in_foreground():
                script.send_signal(number)

        previous = {number: signal.signal(number, forward) for number in FORWARDED}
        try:
            code = script.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    return code if code >= 0 else 128 - code  # as a shell reports a death by signal


def _is_in_foreground() -> bool:
    """Whether this process is of a terminal's foreground group, to which Ctrl-C goes."""
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
