"""Which functions can share a process."""

from dataclasses import replace

import pytest

from seppo.shipping.manifest import DataEntry, Manifest, ModuleEntry
from seppo.shipping.worlds import Union, Worlds


def module(name, version=1, **more):
    return ModuleEntry(name, digest=f"{version:064x}", size=1, **more)


def manifest(*modules, data=(), distributions=()):
    return Manifest(tuple(modules), tuple(data), tuple(distributions))


A, B = module("a"), module("b")
A2 = module("a", 2)
FILE = DataEntry("table.csv", "f" * 64, 5)


def test_what_only_adds_joins_the_world():
    worlds = Worlds()
    assert worlds.number_for(manifest(A)) == 1
    assert worlds.number_for(manifest(A, B)) == 1
    assert worlds.number_for(manifest(B)) == 1
    assert worlds.number_for(Manifest()) == 1


def test_another_version_gets_a_world_of_its_own_and_the_newest_that_fits_is_joined():
    worlds = Worlds()
    assert worlds.number_for(manifest(A)) == 1
    assert worlds.number_for(manifest(A2)) == 2
    assert worlds.number_for(manifest(B)) == 2
    assert worlds.number_for(manifest(A)) == 1
    assert worlds.number_for(manifest(module("b", 2))) == 1


def test_what_a_world_has_taken_in_counts():
    worlds = Worlds()
    worlds.number_for(manifest(A))
    worlds.number_for(manifest(B))
    assert worlds.number_for(manifest(A, module("b", 2))) == 2


def test_each_setup_has_its_world():
    worlds = Worlds()
    assert worlds.number_for(manifest(A), b"one") == 1
    assert worlds.number_for(manifest(A), b"two") == 2
    assert worlds.number_for(manifest(A)) == 3
    assert worlds.number_for(manifest(A), b"one") == 1


def test_a_world_that_is_over_is_not_joined_and_its_number_not_used_again():
    worlds = Worlds()
    assert worlds.number_for(manifest(A)) == 1
    worlds.forget(1)
    worlds.forget(7)
    assert worlds.number_for(manifest(A)) == 2


def union_of(*manifests):
    union = Union()
    for one in manifests:
        union.add(one)
    return union


@pytest.mark.parametrize(
    "more",
    [
        manifest(replace(A, values=(("N", "00"),))),
        manifest(replace(A, origin="/elsewhere/a.py")),
        manifest(data=(FILE,)),
        manifest(distributions=(("a", "1.0"),)),
        manifest(module("a.b")),
    ],
)
def test_no_contradiction(more):
    assert union_of(manifest(A)).contradiction(more) == ""


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (manifest(A2), "module 'a'"),
        (manifest(replace(A, kind="code")), "module 'a'"),
        (manifest(replace(A, is_package=True)), "module 'a'"),
        (manifest(data=(replace(FILE, digest="e" * 64),)), "file 'table.csv'"),
        (manifest(data=(replace(FILE, package="a"),)), "package 'a' with the files beside it"),
        (manifest(distributions=(("p", "2"),)), "project 'p'"),
    ],
)
def test_contradictions(more, told):
    union = union_of(manifest(A), manifest(data=(FILE,), distributions=(("p", "1"),)))
    assert told in union.contradiction(more)


def folder(path, *names, package=""):
    digest = f"{hash(names) & (1 << 60) - 1:064x}"
    return DataEntry(path, digest, 0, package=package, is_folder=True)


def test_a_folder_with_other_files_in_it_is_another_version():
    both = manifest(data=(folder("d", "a", "b"), replace(FILE, path="d/a"), FILE))
    fewer, empty = manifest(data=(folder("d", "a"), replace(FILE, path="d/a"))), folder("d")
    union = union_of(both)
    assert "folder 'd'" in union.contradiction(fewer)
    assert "folder 'd'" in union_of(fewer).contradiction(both)
    assert "folder 'd'" in union.contradiction(manifest(data=(empty,)))
    assert "file 'd'" in union.contradiction(manifest(data=(replace(FILE, path="d"),)))
    assert union.contradiction(manifest(data=(FILE,))) == ""
    assert union.contradiction(manifest(data=(folder("e"),))) == ""


def test_a_package_that_has_lost_a_file_or_all_is_another_version():
    union = union_of(manifest(A, data=(folder("", "t.csv", package="a"),)))
    gone = manifest(A, data=(folder("", package="a"),))
    assert "folder 'a'" in union.contradiction(gone)
    assert "package 'a' without" in union.contradiction(manifest(A))
    assert union.contradiction(manifest(B)) == ""


def test_a_union_is_all_of_its_manifests_without_values():
    union = union_of(manifest(replace(B, values=(("N", "00"),))), manifest(A, data=(FILE,)))
    assert union.manifest() == manifest(A, B, data=(FILE,))
    assert union.has(manifest(A, B, data=(FILE,)))
    assert not union.has(manifest(module("c")))
    assert not union.has(manifest(distributions=(("p", "1"),)))
    assert union.manifest(manifest(module("c"))) == manifest(A, B, module("c"), data=(FILE,))
    assert union.manifest() == manifest(A, B, data=(FILE,))
