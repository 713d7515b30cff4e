"""Manifests: there and back, their digests, and names that lead astray."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.errors import ProtocolError
from seppo.payload.manifest import DataEntry, Manifest, ModuleEntry

MODULE = ModuleEntry("pkg.mod", digest="ab" * 32, size=3, origin="/home/me/pkg/mod.py")
DATA = DataEntry("folder/file.txt", "cd" * 32, 5)
MANIFEST = Manifest((MODULE,), (DATA,), environment={"python": "3.12.1"})


def test_a_manifest_comes_back_equal():
    again = Manifest.from_bytes(MANIFEST.to_bytes())
    assert again == MANIFEST
    assert again.digest == MANIFEST.digest
    assert again.environment == MANIFEST.environment
    assert again.sizes == {"ab" * 32: 3, "cd" * 32: 5}


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
        replace(MANIFEST, cleanup=False),
    ],
)
def test_other_content_has_another_digest(other):
    assert other.digest != MANIFEST.digest


def test_where_it_comes_from_does_not_count():
    other = replace(MANIFEST, environment={"numpy": "2"}, grown_from="x")
    assert other.digest == MANIFEST.digest


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
    manifest = Manifest((ModuleEntry("space", "namespace", True), ModuleEntry("a.b", "elsewhere")))
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


scalars = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.floats())
fields = ["modules", "data", "grown_from", "cleanup", "environment", "name", "path", "digest"]
flat = st.dictionaries(st.sampled_from(fields), scalars)
nonsense = st.one_of(scalars, st.lists(flat), st.dictionaries(st.sampled_from(fields), flat))


@given(st.one_of(nonsense, st.dictionaries(st.sampled_from(fields), nonsense)))
def test_nonsense_is_a_protocol_error(told):
    try:
        Manifest.from_bytes(json.dumps(told).encode())
    except ProtocolError:
        pass
