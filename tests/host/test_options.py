"""What the user of a host can choose."""

from __future__ import annotations

import pytest

from seppo.errors import ConfigurationError
from seppo.host.options import HostOptions
from seppo.settings import Settings
from seppo.wire.config import cpus


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("places", 0), ("port", -1), ("port", 65536), ("max_clients", 0), ("memory", -1),
        ("max_items", -1), ("nice", -1), ("preload", ("a b",)), ("preload", ("",)),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=name):
        HostOptions(**{name: value})


def test_numerical_libraries_share_the_cores():
    assert HostOptions(1).threads == cpus()
    assert HostOptions(10_000).threads == 1


def test_a_process_is_told_what_was_chosen():
    options = HostOptions(2, preload=("a.b",), memory=5, max_items=6, nice=7)
    config = options.config("h.1", "h", Settings(group="g", key_file="/k", insecure=True))
    assert (config.name, config.supervisor, config.group) == ("h.1", "h", "g")
    assert (config.key_file, config.insecure) == ("/k", True)
    assert (config.preload, config.memory, config.max_items, config.nice) == (("a.b",), 5, 6, 7)


def test_a_small_machine_keeps_less_memory_free(monkeypatch):
    pages = {"SC_PHYS_PAGES": 1 << 16, "SC_PAGE_SIZE": 1 << 12}
    monkeypatch.setattr("seppo.host.options.os.sysconf", pages.__getitem__)
    assert HostOptions(3, max_clients=2).bounds.least_memory == (1 << 28) // 20
