"""Settings: what wins, what is read how, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from seppo.errors import ConfigurationError
from seppo.settings import MIB, Settings, TlsFiles


def test_an_empty_environment_gives_the_defaults():
    assert Settings.load({}) == Settings()


def test_the_environment_beats_the_defaults():
    env = {
        "PYRO_NS_HOST": "ns.lab",
        "PYRO_NS_PORT": "9999",
        "PYRO_HOST": "10.0.0.7",
        "SEPPO_GROUP": "render",
        "SEPPO_GRACE": "0",
        "SEPPO_LOOKAHEAD_BYTES": str(MIB),
        "SEPPO_CONNECT_TIMEOUT": "2.5",
    }
    expected = Settings("ns.lab", 9999, "10.0.0.7", "render", 0.0, MIB, 2.5)
    loaded = Settings.load(env)
    for field in dataclasses.fields(expected):  # others may be added, with defaults
        if field.name in ("ns_host", "ns_port", "host", "group", "grace", "lookahead_bytes"):
            assert getattr(loaded, field.name) == getattr(expected, field.name)
    assert loaded.connect_timeout == 2.5


def test_an_argument_beats_the_environment():
    assert Settings.load({"SEPPO_GROUP": "render"}, group="lab").group == "lab"


def test_the_environment_of_the_process_is_read_by_default(monkeypatch):
    monkeypatch.setenv("SEPPO_GROUP", "from-the-process")
    assert Settings.load().group == "from-the-process"


@pytest.mark.parametrize("name", ["", "localhost"])
def test_localhost_means_the_address_that_pyro_listens_on(name):
    settings = Settings.load({"PYRO_NS_HOST": name, "PYRO_HOST": name})
    assert (settings.ns_host, settings.host) == ("127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PYRO_NS_PORT", "http"),
        ("PYRO_NS_PORT", "0"),
        ("PYRO_NS_PORT", "-1"),
        ("PYRO_NS_PORT", "9090.5"),
        ("PYRO_NS_PORT", ""),
        ("SEPPO_GRACE", "soon"),
        ("SEPPO_GRACE", "-1"),
        ("SEPPO_GRACE", "nan"),
        ("SEPPO_GRACE", "inf"),
        ("SEPPO_CONNECT_TIMEOUT", "1 s"),
        ("SEPPO_LOOKAHEAD_BYTES", "64M"),
        ("SEPPO_LOOKAHEAD_BYTES", "0"),
    ],
)
def test_nonsense_is_refused_by_name(variable, text):
    with pytest.raises(ConfigurationError, match=variable) as caught:
        Settings.load({variable: text})
    assert repr(text) in str(caught.value)
    assert "is needed" in str(caught.value)


def test_settings_are_frozen_and_can_be_keys():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().group = "other"  # type: ignore[misc]
    assert {Settings(): 1}[Settings.load({})] == 1


def test_pyros_own_names_say_where_certificates_are():
    env = {
        "PYRO_SSL": "on",
        "PYRO_SSL_CACERTS": "ca",
        "PYRO_SSL_SERVERCERT": "sc",
        "PYRO_SSL_SERVERKEY": "sk",
        "PYRO_SSL_CLIENTCERT": "cc",
        "PYRO_SSL_CLIENTKEY": "ck",
        "PYRO_SSL_CLIENTKEYPASSWD": "secret",
    }
    loaded = Settings.load(env)
    assert loaded.tls_on_loopback
    assert loaded.server_tls == TlsFiles("ca", "sc", "sk")
    assert loaded.client_tls == TlsFiles("ca", "cc", "ck", "secret")
    assert "secret" not in repr(loaded)


def test_security_is_not_switched_off_by_a_misunderstanding():
    assert not Settings.load({"SEPPO_INSECURE": ""}).insecure
    assert Settings.load({"SEPPO_INSECURE": "1"}).insecure
    with pytest.raises(ConfigurationError, match="SEPPO_INSECURE"):
        Settings.load({"SEPPO_INSECURE": "maybe"})
