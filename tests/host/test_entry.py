"""What a host says of itself."""

import os

import pytest

from seppo.host.entry import HostEntry
from seppo.host.options import HostOptions
from seppo.place import user_domain
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


def test_a_unix_socket_is_told_with_the_user_and_machine_that_it_is_for(tmp_path, monkeypatch):
    settings = Settings(key_file=str(tmp_path / "key"))
    local = Address("seppo.supervisor", "./u:/run/user/1/seppo/seppo-0123456789ab")
    added = []
    for address, unix in ((HERE, local), (local, None), (HERE, None)):
        entry = HostEntry("x", address, settings, HostOptions(), Credentials(settings), unix)
        monkeypatch.setattr(entry._registrar, "add", added.append)
        entry.announce()
    told = [(each.facts.get("unix"), each.facts.get("machine")) for each in added]
    assert told == [(local.location, user_domain()), (None, user_domain()), (None, None)]
    assert [each.nearest for each in added] == [local, local, HERE]
