"""A worker's files: checked, kept once, and removed however their process ends."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from seppo.payload import folder as folders
from seppo.payload import folder as module
from seppo.payload.folder import Folder, remove_leftovers
from seppo.payload.manifest import Manifest, ModuleEntry


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def add(folder, content):
    digest = hashlib.sha256(content).hexdigest()
    folder.add(digest, content)
    return digest


def test_what_is_there_is_not_missing():
    folder = Folder("w")
    have = add(folder, b"x = 1\n")
    manifest = Manifest((ModuleEntry("a", digest=have), ModuleEntry("b", digest="ff" * 32)))
    assert folder.missing(manifest) == ["ff" * 32]
    folder.drop({have})
    assert sorted(folder.missing(manifest)) == sorted([have, "ff" * 32])


def test_another_content_than_promised_is_refused():
    folder = Folder("w")
    with pytest.raises(ValueError, match="promised"):
        folder.add("ff" * 32, b"something else")
    assert folder.missing(Manifest((ModuleEntry("b", digest="ff" * 32),)))


def test_nobody_else_can_read_it():
    folder = Folder("w")
    assert folder.root.stat().st_mode & 0o077 == 0


def test_nothing_is_made_before_it_is_needed(temporary):
    folder = Folder("w")
    assert folder.missing(Manifest()) == []
    folder.remove()
    assert list(temporary.iterdir()) == []


def test_it_goes_with_its_owner(temporary):
    folder = Folder("w")
    add(folder, b"1")
    folder.remove()
    assert list(temporary.iterdir()) == []
    add(folder, b"2")
    del folder
    assert list(temporary.iterdir()) == []


def test_names_of_workers_are_no_paths(temporary):
    folder = Folder("a/../../b*")
    assert folder.root.parent == temporary
    other = Folder("a_.._.._b_other")
    assert other.root
    remove_leftovers("a/../../b*")
    assert not folder.root.exists() or folder.root not in list(temporary.iterdir())
    assert other.root.exists()


def test_what_a_killed_process_has_left_is_swept_up(temporary):
    code = (
        "import sys, tempfile, os, signal\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "from seppo.payload.folder import Folder\n"
        "folder = Folder('dead'); print(folder.root, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(temporary)], capture_output=True, text=True, timeout=60
    )
    left = Path(done.stdout.strip())
    assert left.exists()
    foreign = temporary / f"{folders.PREFIX}of-something-else"
    foreign.mkdir()
    living = Folder("living")
    assert living.root.exists()
    assert not left.exists()
    assert foreign.exists()
    assert Folder("another").root.exists()
    assert living.root.exists()


def test_a_forked_child_leaves_it_alone():
    folder = Folder("w")
    add(folder, b"1")
    pid = os.fork()
    if pid == 0:
        folder.remove()
        os._exit(0)
    os.waitpid(pid, 0)
    assert folder.root.exists()


def test_a_sweep_never_takes_a_folder_that_is_just_being_made(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    swept = []
    real = fcntl.flock

    def sweep_before(lock, how):
        if not swept:
            swept.append(True)
            module._sweep()  # as another worker would, at the worst moment
        real(lock, how)

    monkeypatch.setattr(fcntl, "flock", sweep_before)
    folder = Folder("w")
    assert (folder.root / "files").is_dir()
    assert swept
    module._sweep()
    assert (folder.root / "files").is_dir()
    folder.remove()
