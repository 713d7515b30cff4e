"""Manifests: there and back, their digests, and names that lead astray."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.errors import ProtocolError
from seppo.shipping import manifest
from seppo.shipping.manifest import DataEntry, Manifest, ModuleEntry

MODULE = ModuleEntry("pkg.mod", digest="ab" * 32, size=3, origin="/home/me/pkg/mod.py")
DATA = DataEntry("folder/file.txt", "cd" * 32, 5)
MANIFEST = Manifest((MODULE,), (DATA,), environment={"python": "3.12.1"})


def test_a_manifest_comes_back_equal():
    again = Manifest.from_bytes(MANIFEST.to_bytes())
    assert again == MANIFEST
    assert again.digest == MANIFEST.digest
    assert again.environment == MANIFEST.environment
    assert again.sizes == {"ab" * 32: 3, "cd" * 32: 5}


def test_folders_come_back_and_nothing_is_sent_for_them():
    folders = (
        DataEntry("", "ab" * 32, 0, package="pkg", is_folder=True),
        DataEntry("folder", "ef" * 32, 0, is_folder=True),
    )
    again = Manifest.from_bytes(replace(MANIFEST, data=(*folders, DATA)).to_bytes())
    assert again.data == (*folders, DATA)
    assert again.sizes == MANIFEST.sizes
    with pytest.raises(ProtocolError):
        Manifest.from_bytes(replace(MANIFEST, data=(replace(folders[0], package=""),)).to_bytes())


def test_nothing_travels_as_nothing():
    assert Manifest().to_bytes() == b""
    assert Manifest.from_bytes(b"") == Manifest()


@pytest.mark.parametrize(
    "other",
    [
        replace(MANIFEST, modules=(replace(MODULE, digest="ff" * 32),)),
        replace(MANIFEST, modules=(replace(MODULE, values=(("A", "00"),)),)),
        replace(MANIFEST, modules=(replace(MODULE, name="pkg.other"),)),
        replace(MANIFEST, data=()),
        replace(MANIFEST, distributions=(("mine", "1.0"),)),
    ],
)
def test_other_content_has_another_digest(other):
    assert other.digest != MANIFEST.digest


def test_where_it_comes_from_does_not_count():
    other = replace(MANIFEST, environment={"numpy": "2"})
    assert other.digest == MANIFEST.digest


def test_the_folder_is_named_by_the_files_alone():
    elsewhere = replace(MODULE, origin="/home/you/mod.py", values=(("A", "00"),))
    assert replace(MANIFEST, modules=(elsewhere,)).files_digest == MANIFEST.files_digest
    for other in (
        replace(MANIFEST, modules=(replace(MODULE, digest="ff" * 32),)),
        replace(MANIFEST, modules=(replace(MODULE, is_package=True),)),
        replace(MANIFEST, data=(replace(DATA, is_executable=True),)),
        replace(MANIFEST, distributions=(("mine", "1.0"),)),
    ):
        assert other.files_digest != MANIFEST.files_digest


def test_what_has_been_read_is_not_read_again(monkeypatch):
    valued = replace(MANIFEST, modules=(replace(MODULE, values=(("A", "00"),)),))
    Manifest.from_bytes(MANIFEST.to_bytes())
    monkeypatch.setattr(manifest, "_module", None)
    assert Manifest.from_bytes(valued.to_bytes()) == valued


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up", "a/../../b", "a//b", "", ".", "a\\b", "C:x", "a\0b"]
)
def test_files_that_would_lie_outside_are_refused(path):
    for wrong in (
        replace(MANIFEST, data=(replace(DATA, path=path),)),
        replace(MANIFEST, data=(replace(DATA, package=f"pkg.{path}"),)),
        replace(MANIFEST, modules=(replace(MODULE, name=path),)),
    ):
        with pytest.raises(ProtocolError):
            Manifest.from_bytes(wrong.to_bytes())


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "ab" * 31, "AB" * 32, "ab" * 32 + "\n"])
@pytest.mark.parametrize("size", [-1, "7", 1.5, None])
def test_what_is_no_digest_or_no_size_is_refused(digest, size):
    for wrong in (
        replace(MANIFEST, data=(replace(DATA, digest=digest),)),
        replace(MANIFEST, modules=(replace(MODULE, digest=digest),)),
        replace(MANIFEST, data=(replace(DATA, size=size),)),
        replace(MANIFEST, modules=(replace(MODULE, size=size),)),
    ):
        with pytest.raises(ProtocolError):
            Manifest.from_bytes(wrong.to_bytes())


def test_packages_without_a_file_need_no_digest():
    one = Manifest((ModuleEntry("space", "namespace", True), ModuleEntry("a.b", "elsewhere")))
    assert Manifest.from_bytes(one.to_bytes()) == one


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a\nb", 7])
def test_projects_that_are_none_are_refused(name):
    for pair in ((name, "1.0"), ("mine", name)):
        with pytest.raises(ProtocolError):
            Manifest.from_bytes(replace(MANIFEST, distributions=(pair,)).to_bytes())


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.floats())
nonsense = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)
)


@given(nonsense, nonsense)
def test_nonsense_is_a_protocol_error(files, rest):
    try:
        Manifest.from_bytes(f"{json.dumps(files)}\n{json.dumps(rest)}".encode())
    except ProtocolError:
        pass
