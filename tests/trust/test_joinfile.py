"""Join files: what is refused, and that a refusal leaves everything as it was."""

from __future__ import annotations

import json
import os

import pytest

from seppo.errors import ConfigurationError, SecurityError
from seppo.settings import Settings
from seppo.trust import joinfile
from seppo.trust.certificates import make_bundle
from seppo.trust.joinfile import JoinFile, collect, install, parse_join_file
from seppo.trust.keyfile import ensure_key


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    key = tmp_path_factory.mktemp("first") / "our-key"
    make_bundle(key)
    return collect(Settings(ns_host="10.0.0.1", group="lab"), key)


def changed(joined, **files):
    """Return a join file's content, with files of other contents, or without them for None."""
    new = {**joined.files, **{name.replace("_", "."): text for name, text in files.items()}}
    kept = {name: text for name, text in new.items() if text is not None}
    return json.dumps({"format": joinfile.FORMAT, "files": kept}).encode()


def test_what_is_written_is_read(joined):
    assert parse_join_file(joined.to_bytes()) == joined
    assert joined.settings["PYRO_NS_HOST"] == "10.0.0.1"


def test_a_join_file_shows_its_key_to_nobody(joined):
    assert joined.files["key"].strip() not in repr(joined)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff\x00", b"null", b"[]", b"{}", b"[" * 5000, b'{"format": 1}', b'{"format": [1]}',
        b'{"format": "seppo join file 2", "files": {}}', b'{"format": "seppo join file 1"}',
        b'{"format": "seppo join file 1", "files": []}', b" " * (65 << 10),
        b'{"format": "seppo join file 1", "files": {}, "more": 1}',
    ],
)  # fmt: skip
def test_what_is_no_join_file_is_refused(data):
    with pytest.raises(SecurityError, match="no join file"):
        parse_join_file(data)


@pytest.mark.parametrize(
    "files",
    [
        {"key": None}, {"key": "00" * 31 + "\n"}, {"key": 7}, {"key": ["00"]}, {"key": ""},
        {"ca_pem": None}, {"cert_pem": None}, {"authorized": "ssh\n"}, {"../key": "00\n"},
        {"cert_pem": "\x00\n"}, {"ca_pem": "\u00e4\n"}, {"settings": "SEPPO_KEY_FILE=/tmp/key\n"},
        {"settings": "SEPPO_INSECURE=1\n"}, {"settings": "PYRO_NS_PORT=x\n"},
        {"settings": "PYRO_SSL_CACERTS=/tmp/ca\n"}, {"settings": "PATH=/tmp\n"},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_belong_there_is_refused(joined, files):
    with pytest.raises(SecurityError):
        parse_join_file(changed(joined, **files))


def test_a_name_that_is_there_twice_is_refused(joined):
    data = joined.to_bytes().replace(b'"files"', b'"format": "x", "files"', 1)
    with pytest.raises(SecurityError, match="no join file"):
        parse_join_file(data)


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "cert-key.pem"])
@pytest.mark.parametrize("content", ["of others", "garbage"])
def test_certificates_that_do_not_fit_are_refused_before_anything_is_there(
    joined, tmp_path, name, content
):
    make_bundle(tmp_path / "others" / "key")
    text = (tmp_path / "others" / name).read_text() if content == "of others" else "garbage\n"
    data = changed(joined, **{name: text})
    with pytest.raises(SecurityError, match=r"certificates|cannot be used"):
        install(parse_join_file(data), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    folder = tmp_path / "old"
    install(joined, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SecurityError):
        install(parse_join_file(data), folder, replace=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("n", range(5))
def test_a_write_that_fails_leaves_all_as_it_was(joined, tmp_path, monkeypatch, n):
    folder = tmp_path / "there"
    ensure_key(folder / "key")
    before = (folder / "key").read_bytes()
    write, written = joinfile.write_private, []

    def fail_at_last(path, content):
        if len(written) == n:
            raise OSError(28, "No space left on device")
        written.append(path)
        write(path, content)

    monkeypatch.setattr(joinfile, "write_private", fail_at_last)
    with pytest.raises(SecurityError, match="No space left"):
        install(joined, folder, replace=True)
    assert os.listdir(folder) == ["key"]
    assert (folder / "key").read_bytes() == before
    with pytest.raises(SecurityError, match="No space left"):
        install(joined, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_key_without_certificates_will_do(joined, tmp_path):
    alone = parse_join_file(changed(joined, ca_pem=None, cert_pem=None, **{"cert-key.pem": None}))
    install(alone, tmp_path / "new")
    assert sorted(os.listdir(tmp_path / "new")) == ["key", "settings"]
    install(joined, tmp_path / "old")
    install(alone, tmp_path / "old")  # the same key: certificates stay
    assert "ca.pem" in os.listdir(tmp_path / "old")


def test_certificates_of_a_key_that_is_replaced_go(joined, tmp_path):
    make_bundle(tmp_path / "there" / "key")
    alone = JoinFile({"key": joined.files["key"]})
    install(alone, tmp_path / "there", replace=True)
    assert sorted(os.listdir(tmp_path / "there")) == ["key", "settings"]


def test_settings_that_make_no_sense_are_not_written_over(joined, tmp_path):
    (tmp_path / "settings").write_text("nonsense\n")
    with pytest.raises(ConfigurationError, match="line 1"):
        install(joined, tmp_path)
    assert os.listdir(tmp_path) == ["settings"]


@pytest.mark.parametrize("flaw", ["no key", "a certificate is missing", "others can read it"])
def test_what_cannot_be_used_is_not_passed_on(tmp_path, flaw):
    key = tmp_path / "seppo" / "key"
    if flaw != "no key":
        make_bundle(key)
    if flaw == "a certificate is missing":
        (key.parent / "cert.pem").unlink()
    if flaw == "others can read it":
        key.chmod(0o644)
    with pytest.raises(SecurityError):
        collect(Settings(), key)
