"""``seppo doctor``: checks of the name server and every host, with advice.

Each check is a function of its own that returns a ``Finding``. Those of one host are
listed in ``HOST_CHECKS`` and are run for every host that answers.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from seppo.cli.security import add_key_file, with_key_file
from seppo.errors import NameServerError, SecurityError, SeppoError
from seppo.interfaces.parallel import map_parallel
from seppo.pyro.nameserver import Entry, NameServer
from seppo.pyro.proxy import attach, call
from seppo.settings import Settings
from seppo.shipping.bundle import environment_here
from seppo.trust.credentials import Credentials
from seppo.trust.keyfile import key_path
from seppo.trust.tls import stays_here
from seppo.version import PROTOCOL_VERSION, __version__
from seppo.wire.address import location_of
from seppo.wire.codec import from_frame
from seppo.wire.messages import Welcome
from seppo.wire.stream import Stream

ASKED_AT_ONCE = 32
PATIENCE = 5.0  # seconds for each question
CLOCK = 5.0  # seconds that clocks may differ; beyond, times of files and logs mislead
LEAST_MEMORY = 256 << 20  # bytes
LEAST_DISK = 256 << 20  # bytes
ITEMS = 100  # of the tiny map


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        what: What was looked at.
        is_well: Whether it is as it should be.
        text: What was found.
        fix: What to do, where it is not.
    """

    what: str
    is_well: bool
    text: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.is_well else 'FAIL'}  {self.what}: {self.text}"
        return line if self.is_well or not self.fix else f"{line}\n      fix: {self.fix}"


@dataclass(frozen=True)
class Patient:
    """A host that has answered.

    Attributes:
        entry: Where it is.
        credentials: What it has proved the key to.
        health: What it says of itself.
        asked: When it was asked, by the clock here.
        answered: When the answer was here.
    """

    entry: Entry
    credentials: Credentials
    health: dict[str, Any]
    asked: float
    answered: float


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "doctor",
        help="check name server and hosts",
        description="Check the name server and every host from here, and run a tiny map. "
        "Print one line for each check, and advice for each that fails. The exit code is 1 if "
        "any failed.",
    )
    parser.add_argument("--group", help="only the hosts of this group")
    add_key_file(parser)
    parser.set_defaults(verb="doctor", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run all checks, print what each finds, and return the exit code."""
    settings = with_key_file(Settings.load(group=arguments.group), arguments)
    if arguments.key_file is not None:
        os.environ["SEPPO_KEY_FILE"] = arguments.key_file  # for the tiny map
    credentials = Credentials(settings)
    failed = False

    def tell(finding: Finding) -> None:
        nonlocal failed
        failed = failed or not finding.is_well
        print(finding, flush=True)

    tell(check_key(settings, credentials))
    finding, entries = check_nameserver(settings, credentials, arguments.group)
    tell(finding)
    if entries:
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            for findings in pool.map(partial(check_host, credentials), entries):
                for finding in findings:
                    tell(finding)
        for group in sorted({entry.facts.get("group", settings.group) for entry in entries}):
            tell(check_map(group))
    return int(failed)


def check_key(settings: Settings, credentials: Credentials) -> Finding:
    """See whether the shared key can be had and may be used."""
    what = f"shared key {key_path(settings)}"
    try:
        _ = credentials.key
    except SecurityError as error:
        return Finding(what, False, str(error), "see 'seppo keys show'")
    return Finding(what, True, "it exists, and only you can read it")


def check_nameserver(
    settings: Settings, credentials: Credentials, group: str | None
) -> tuple[Finding, list[Entry]]:
    """Ask the name server who is there."""
    where = location_of(settings.ns_host, settings.ns_port)
    what = f"name server at {where}"
    try:
        entries, n_foreign = NameServer(settings, credentials).find_ours(group)
    except SecurityError as error:
        fix = "copy the folder of the key from the name server's machine; see 'seppo keys'"
        return Finding(what, False, str(error), fix), []
    except NameServerError as error:
        fix = (
            "start one with 'seppo nameserver', or set PYRO_NS_HOST and PYRO_NS_PORT to its "
            "address; a firewall may block the connection"
        )
        return Finding(what, False, error.reason, fix), []
    others = f", and {n_foreign} with other keys" if n_foreign else ""
    if not entries:
        whose = "" if group is None else f" of group {group!r}"
        fix = "start workers with 'seppo worker', with PYRO_NS_HOST set to the name server's host"
        if n_foreign:
            whose += f" with your key{others}"
            fix += (
                "; if those hosts are yours, copy the folder of the key from them. Never share a "
                "key with other people: each holder can run code as all the others"
            )
        return Finding(what, False, f"it answers, but knows no hosts{whose}", fix), []
    return Finding(what, True, f"it knows {len(entries)} host(s){others}"), entries


def check_host(credentials: Credentials, entry: Entry) -> list[Finding]:
    """Return what is found of one host."""
    finding, patient = check_reach(credentials, entry)
    if patient is None:
        return [finding]
    return [finding, *(check(patient) for check in HOST_CHECKS)]


def check_reach(credentials: Credentials, entry: Entry) -> tuple[Finding, Patient | None]:
    """Prove the key to each other, make a control call, and wait for the answer."""
    what = f"{entry.name} at {entry.address.location}"
    asked = time.time()
    try:
        health = call(credentials, entry.address, "health", timeout=PATIENCE)
    except SecurityError as error:
        fix = "copy the folder of the key to that machine, or start its workers again"
        return Finding(what, False, str(error), fix), None
    except TimeoutError as error:
        fix = "its supervisor hangs, or a firewall drops packets between here and there"
        return Finding(what, False, str(error), fix), None
    except OSError as error:
        fix = (
            "the host has ended, or its address cannot be reached from here: set PYRO_HOST on "
            "its machine to an address that other machines can reach"
        )
        return Finding(what, False, str(error), fix), None
    except Exception as error:  # anything may listen there
        fix = (
            "another program listens there, or another version of seppo: install the same "
            "seppo on both sides"
        )
        return Finding(what, False, f"{type(error).__name__}: {error}", fix), None
    answered = time.time()
    text = f"it has the key, and answers in {1000 * (answered - asked):.0f} ms"
    return Finding(what, True, text), Patient(entry, credentials, health, asked, answered)


def check_encryption(patient: Patient) -> Finding:
    """See whether others can read along."""
    what = f"{patient.entry.name}, encryption"
    host = patient.entry.address.host
    if patient.credentials.is_encrypted(host):
        return Finding(what, True, "TLS")
    if stays_here(host):
        return Finding(what, True, "none, and what is sent stays on this machine")
    fix = "make certificates with 'seppo keys new', and go without --insecure and SEPPO_INSECURE"
    return Finding(what, False, f"none, on {host}", fix)


def check_channel(patient: Patient) -> Finding:
    """Open a control channel and wait for the greeting."""
    what = f"{patient.entry.name}, control channel"
    try:
        sock = attach(patient.credentials, patient.entry.address, PATIENCE)
        try:
            welcome = from_frame(Stream(sock).receive_one(PATIENCE))
        finally:
            sock.close()
    except (OSError, EOFError, SeppoError) as error:
        return Finding(what, False, str(error), "see the messages of 'seppo worker' there")
    if not isinstance(welcome, Welcome):
        return Finding(what, False, "no greeting", "install the same seppo on both sides")
    protocol = welcome.info.get("protocol")
    if protocol != PROTOCOL_VERSION:
        text = f"it speaks protocol {protocol}, this is {PROTOCOL_VERSION}"
        return Finding(what, False, text, "install the same seppo on both sides")
    return Finding(what, True, "it sends its greeting")


def check_way_back(patient: Patient) -> Finding:
    """See whether the host reaches the name server."""
    what = f"{patient.entry.name}, name server from there"
    problem = str(patient.health.get("nameserver", ""))
    if problem:
        fix = "set PYRO_NS_HOST and PYRO_NS_PORT for 'seppo worker' there; check the firewall"
        return Finding(what, False, problem, fix)
    return Finding(what, True, "it answers")


def check_clock(patient: Patient) -> Finding:
    """Compare the clocks; the way there and back is taken as equal."""
    what = f"{patient.entry.name}, clock"
    middle = (patient.asked + patient.answered) / 2
    apart = float(patient.health["time"]) - middle
    text = f"{abs(apart):.1f} s {'ahead' if apart > 0 else 'behind'}"
    fix = "synchronize both clocks over the network (chrony, systemd-timesyncd)"
    return Finding(what, abs(apart) <= CLOCK, text, fix)


def check_versions(patient: Patient) -> Finding:
    """Compare Python, platform and cloudpickle."""
    what = f"{patient.entry.name}, versions"
    there: dict[str, str] = dict(patient.health["versions"])
    here = environment_here(())
    ours = str(patient.entry.facts.get("seppo", __version__))
    told = [f"{name} {there.get(name, '?')}, here {version}"
            for name, version in here.items() if there.get(name) != version]  # fmt: skip
    if ours != __version__:
        told.append(f"seppo {ours}, here {__version__}")
    if told:
        fix = "install the same versions on both sides; Python's minor version must be the same"
        minor = here["python"].rpartition(".")[0] + "."
        is_well = there.get("python", "").startswith(minor) and ours == __version__
        return Finding(what, is_well, "; ".join(told), fix)
    return Finding(what, True, f"Python {here['python']}, seppo {ours}, as here")


def check_space(patient: Patient) -> Finding:
    """See whether memory and disk are nearly used up."""
    what = f"{patient.entry.name}, free"
    memory, disk = patient.health.get("memory"), int(patient.health["disk"])
    text = f"memory {_told(memory)}, disk {_told(disk)} in {patient.health['folder']}"
    if memory is not None and int(memory) < LEAST_MEMORY:
        fix = "run fewer workers there ('seppo worker -n'), or stop what uses the memory"
        return Finding(what, False, text, fix)
    if disk < LEAST_DISK:
        return Finding(what, False, text, "remove files there, or set TMPDIR to a larger disk")
    return Finding(what, True, text)


def _told(size: int | None) -> str:
    return "unknown" if size is None else f"{size / (1 << 30):.1f} GiB"


HOST_CHECKS: list[Callable[[Patient], Finding]] = [
    check_encryption,
    check_channel,
    check_way_back,
    check_clock,
    check_versions,
    check_space,
]


def check_map(group: str) -> Finding:
    """Run a tiny map over all workers of a group."""
    what = f"a map of {ITEMS} items over group {group!r}"
    began = time.perf_counter()
    try:
        results = list(map_parallel(abs, range(-ITEMS, 0), group=group, fallback="error"))
    except Exception as error:  # the reason is the finding
        fix = "see the checks above, and the messages of the workers"
        return Finding(what, False, f"{type(error).__name__}: {error}", fix)
    took = time.perf_counter() - began
    if results != list(range(ITEMS, 0, -1)):
        return Finding(what, False, "the results are wrong", "please report it")
    return Finding(what, True, f"done in {1000 * took:.0f} ms")
