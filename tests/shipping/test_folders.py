"""Bundles on disk: whole or not at all, and put right again."""

import errno
import hashlib
import os
import stat

import pytest

from seppo.shipping import folders
from seppo.shipping.cache import BUNDLES, FILES, cache_folder
from seppo.shipping.folders import BundleCache, is_file
from seppo.shipping.manifest import DataEntry, Manifest, ModuleEntry

FILES_OF = {"pkg/__init__.py": b"", "pkg/mod.py": b"N = 1\n", "table.csv": b"1,2\n"}


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


MANIFEST = Manifest(
    (
        ModuleEntry("pkg", is_package=True, digest=digest_of(b"")),
        ModuleEntry("pkg.mod", digest=digest_of(b"N = 1\n"), size=6),
        ModuleEntry("space", "namespace", True),
        ModuleEntry("pkg.ext", "elsewhere"),
    ),
    (
        DataEntry("table.csv", digest_of(b"1,2\n"), 4),
        DataEntry("run.sh", digest_of(b"1,2\n"), 4, True, "pkg"),
    ),
    (("my-project", "1.0"),),
)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return BundleCache()


def fill(cache):
    for content in FILES_OF.values():
        cache.add(digest_of(content), content)


def listing(folder):
    return sorted(
        path.relative_to(folder.path).as_posix()
        for path in folder.path.rglob("*")
        if path.is_file()
    )


WHOLE = [
    "code/my_project-1.0.dist-info/METADATA", "code/pkg/__init__.py", "code/pkg/mod.py",
    "code/pkg/run.sh", "data/table.csv", "lock",
]  # fmt: skip


def test_a_bundle_lies_under_its_own_paths(cache):
    assert cache.find(MANIFEST) is None
    fill(cache)
    folder = cache.make(MANIFEST)
    assert listing(folder) == WHOLE
    assert (folder.code / "space").is_dir()
    assert (folder.code / "pkg" / "mod.py").read_bytes() == b"N = 1\n"
    assert stat.S_IMODE((folder.code / "pkg" / "run.sh").stat().st_mode) == 0o555
    assert stat.S_IMODE((folder.data / "table.csv").stat().st_mode) == 0o444
    assert folder.is_there
    assert folder.broken() == {}
    again = cache.find(MANIFEST)
    assert again is not None
    assert again.path == folder.path


def test_empty_folders_lie_there_too(cache):
    names = "ab" * 32
    folder = cache.make(
        Manifest(
            (),
            (
                DataEntry("empty", names, 0, is_folder=True),
                DataEntry("empty/deep", names, 0, is_folder=True),
                DataEntry("", names, 0, package="pkg", is_folder=True),
            ),
        )
    )
    assert (folder.data / "empty" / "deep").is_dir()
    assert (folder.code / "pkg").is_dir()
    assert listing(folder) == ["lock"]
    assert folder.manifest.sizes == {}


def test_nobody_else_can_read_it(cache, tmp_path):
    (tmp_path / "cache" / "seppo").mkdir(parents=True)
    (tmp_path / "cache" / "seppo").chmod(0o755)
    assert stat.S_IMODE(cache.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(cache.root.parent.stat().st_mode) == 0o700


def test_without_a_home_it_lies_where_temporary_files_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    found = cache_folder({"XDG_CACHE_HOME": str(tmp_path / "file")})
    assert found.parent.parent == tmp_path / "tmp"
    os.symlink(tmp_path, tmp_path / "link")
    found.parent.rename(tmp_path / "theirs")
    os.symlink(tmp_path / "theirs", found.parent)  # what a stranger might have made
    with pytest.raises(PermissionError):
        cache_folder({"XDG_CACHE_HOME": str(tmp_path / "file")})


def test_what_is_here_is_not_missing(cache):
    assert set(cache.missing(MANIFEST)) == {digest_of(content) for content in FILES_OF.values()}
    cache.add(digest_of(b""), b"")
    assert digest_of(b"") not in cache.missing(MANIFEST)


def test_another_content_than_promised_is_refused(cache):
    with pytest.raises(ValueError, match="promised"):
        cache.add("ff" * 32, b"something else")
    assert list((cache.root / FILES).iterdir()) == []


def test_a_full_disk_leaves_no_half_file(cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "chmod", full)
        with pytest.raises(OSError, match="No space"):
            fill(cache)
    assert list((cache.root / FILES).iterdir()) == []
    fill(cache)
    with monkeypatch.context() as patch:
        patch.setattr(folders.shutil, "copyfile", full)  # of the file that can be run
        with pytest.raises(OSError, match="No space"):
            cache.make(MANIFEST)
    assert list((cache.root / BUNDLES).iterdir()) == []
    assert cache.make(MANIFEST).broken() == {}


def test_a_file_system_without_links(cache, monkeypatch):
    fill(cache)
    monkeypatch.setattr(folders, "_link", lambda *_: False)
    folder = cache.make(MANIFEST)
    assert folder.broken() == {}
    assert listing(folder) == WHOLE


def test_what_was_removed_or_changed_is_seen_and_put_back(cache):
    fill(cache)
    folder = cache.make(MANIFEST)
    module = folder.code / "pkg" / "mod.py"
    digest = digest_of(b"N = 1\n")
    os.chmod(module.parent, 0o700)
    module.unlink()
    assert folder.broken() == {digest: 6}
    assert cache.make(MANIFEST).broken() == {}
    assert stat.S_IMODE(module.parent.stat().st_mode) == 0o555
    os.chmod(module, 0o600)
    module.write_bytes(b"N = 2\n")  # the same size; and of all links to it
    assert folder.broken() == {digest: 6}
    assert cache.missing(MANIFEST) == [digest]
    cache.add(digest, b"N = 1\n")
    assert cache.make(MANIFEST).broken() == {}
    assert module.read_bytes() == b"N = 1\n"


def test_a_folder_that_is_gone_is_made_again_under_its_name(cache):
    fill(cache)
    folder = cache.make(MANIFEST)
    folders.remove_tree(folder.path)
    assert not folder.is_there
    again = cache.make(MANIFEST)
    assert again.path == folder.path
    assert listing(again) == WHOLE
    assert again.is_there
    assert not folder.is_there  # whoever has the old one looks again
    folder.mend()
    assert folder.is_there


@pytest.mark.parametrize("name", [FILES, BUNDLES, "work"])
def test_a_part_of_the_cache_that_is_gone_is_made_again(cache, name):
    fill(cache)
    cache.make(MANIFEST)
    folders.remove_tree(cache.root / name)
    fill(cache)
    assert cache.make(MANIFEST).broken() == {}
    assert (cache.root / name).is_dir()


STEPS = ("mkdir", "chmod", "open", "rename", "replace", "link", "utime")


@pytest.mark.parametrize("is_made", [False, True])
def test_a_cleaner_at_any_moment_costs_no_more_than_what_it_removed(cache, monkeypatch, is_made):
    def run(at):
        """Have a cleaner remove everything before one step; return whether there was one."""
        fill(cache)
        held = cache.make(MANIFEST) if is_made else None
        if held is not None:
            folders.remove_tree(held.path)
        steps = iter(range(at + 1))

        def before(real):
            def step(*arguments, **options):
                if next(steps, None) == at:
                    folders.remove_tree(cache.root.parent)
                return real(*arguments, **options)

            return step

        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(os, name, before(getattr(os, name)))
            fill(cache)
            if held is not None:
                held.mend()
            cache.make(MANIFEST)
        fill(cache)
        assert cache.make(MANIFEST).broken() == {}, at
        folders.remove_tree(cache.root)
        return next(steps, None) is None

    at = 0
    while run(at):
        at += 1
    assert at > 20


def test_somebody_else_is_quicker(cache, monkeypatch):
    fill(cache)
    others = []
    real = os.rename

    def rename(old, new):
        if not others:
            others.append(None)
            others.append(BundleCache().make(MANIFEST))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    folder = cache.make(MANIFEST)
    assert folder.path == others[1].path
    assert [path.name for path in (cache.root / BUNDLES).iterdir()] == [MANIFEST.files_digest]


def test_time_and_size_tell(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    digest = digest_of(b"abc")
    assert not is_file(path, digest, 3)
    os.utime(path, (folders.stamp_of(digest),) * 2)
    assert is_file(path, digest, 3)
    assert not is_file(path, digest, 4)
    assert not is_file(tmp_path / "none", digest, 3)
