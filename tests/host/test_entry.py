"""What a host says of itself."""

import os

import pytest

from seppo.host.entry import HostEntry
from seppo.host.options import HostOptions
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.wire.address import Address

HERE = Address("seppo.supervisor", "127.0.0.1", 4711)


@pytest.fixture
def entry(tmp_path):
    settings = Settings(group="lab", key_file=str(tmp_path / "key"))
    return HostEntry("seppo.here", HERE, settings, HostOptions(places=3), Credentials(settings))


@pytest.fixture
def added(entry, monkeypatch):
    added = []
    monkeypatch.setattr(entry._registrar, "add", added.append)
    return added


def test_the_facts_tell_group_places_and_process(entry):
    facts = entry.facts()
    assert (facts["group"], facts["places"], facts["pid"]) == ("lab", 3, os.getpid())
    assert facts["encrypted"] is entry.is_encrypted is False


def test_a_host_is_announced_once(entry, added):
    entry.announce()
    entry.announce()
    (told,) = added
    assert (told.name, told.address) == ("seppo.here", HERE)
    assert told.facts["places"] == "3"
    assert told.facts["key"]
