"""Settings: what wins, what is read how, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from seppo.errors import ConfigurationError
from seppo.settings import MIB, Settings, TlsFiles, format_settings, parse_settings


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
        "SEPPO_SILENCE": "7",
    }
    expected = Settings("ns.lab", 9999, "10.0.0.7", "render", 0.0, MIB, 2.5)
    loaded = Settings.load(env)
    for field in dataclasses.fields(expected):  # others may be added, with defaults
        if field.name in ("ns_host", "ns_port", "host", "group", "grace", "lookahead_bytes"):
            assert getattr(loaded, field.name) == getattr(expected, field.name)
    assert loaded.connect_timeout == 2.5
    assert loaded.silence == 7.0


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


@pytest.fixture
def file(tmp_path):
    """Return a function that writes the file of settings, and gives its environment."""

    def write(text, mode=0o600):
        path = tmp_path / "seppo" / "settings"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return {"XDG_CONFIG_HOME": str(tmp_path)}

    return write


def test_a_file_beats_the_defaults_and_the_environment_beats_it(file):
    env = file("# of the lab\n\nPYRO_NS_HOST=ns.lab\nPYRO_NS_PORT = 9999\nSEPPO_GROUP=big ones\n")
    loaded = Settings.load(env)
    assert (loaded.ns_host, loaded.ns_port, loaded.group) == ("ns.lab", 9999, "big ones")
    assert Settings.load({**env, "PYRO_NS_PORT": "1"}) == dataclasses.replace(loaded, ns_port=1)
    assert Settings.load(env, group="lab").group == "lab"


def test_the_file_of_this_process_is_read_and_read_again(file, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", file("SEPPO_GROUP=a\n")["XDG_CONFIG_HOME"])
    assert Settings.load().group == "a"
    file("SEPPO_GROUP=longer\n")
    assert Settings.load().group == "longer"


def test_the_file_lies_in_the_home_directory(file, tmp_path):
    file("SEPPO_GROUP=a\n")
    (tmp_path / "seppo").rename(tmp_path / "moved")
    (tmp_path / ".config").mkdir()
    (tmp_path / "moved").rename(tmp_path / ".config" / "seppo")
    assert Settings.load({"HOME": str(tmp_path), "XDG_CONFIG_HOME": "relative"}).group == "a"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SEPPO_GROUP", "line 1 is not NAME=VALUE"),
        ("\nexport SEPPO_GROUP=a", "line 2 is not NAME=VALUE"),
        ("SEPPO_GROUP='a'", "without quotes"),
        ("SEPPO_GROUP=\u00e4", "in ASCII"),
        ("SEPPO_GROUP=a\x00b", "in ASCII"),
        ("SEPPO_GROUP=a\rSEPPO_GRACE=1", "in ASCII"),
        ("SEPPO_INSECURE=1", "sets SEPPO_INSECURE, which is not set in a file"),
        ("PYRO_SSL_SERVERKEYPASSWD=x", "not set in a file"),
        ("PATH=/tmp", "sets PATH"),
        ("SEPPO_GROUP=a\nSEPPO_GROUP=b", "again"),
        ("SEPPO_KEY_FILE=key", "absolute"),
        ("PYRO_NS_PORT=http", "PYRO_NS_PORT"),
        ("#" * (65 << 10), "bytes"),
    ],
)
def test_a_file_with_a_line_that_makes_no_sense_is_refused(file, text, why):
    with pytest.raises(ConfigurationError, match=why):
        Settings.load(file(text))


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_change_is_refused(file, mode):
    with pytest.raises(ConfigurationError, match="others can change it"):
        Settings.load(file("SEPPO_GROUP=a\n", mode))
    assert Settings.load(file("SEPPO_GROUP=a\n", 0o644)).group == "a"


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "seppo" / "settings").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings.load({"XDG_CONFIG_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    "values", [{"SEPPO_GROUP": "a\nSEPPO_GRACE=1"}, {"SEPPO_GROUP": " a"}, {"PYRO_NS_PORT": "x"}]
)
def test_what_could_not_be_read_again_is_not_written(values):
    with pytest.raises(ConfigurationError):
        format_settings(values)
    values = {"SEPPO_GROUP": "a b", "PYRO_NS_PORT": "9"}
    assert parse_settings(format_settings(values), "") == values
