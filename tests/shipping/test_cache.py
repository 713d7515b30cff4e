"""What nobody uses is swept away; what somebody uses is not."""

import fcntl
import hashlib
import os
import subprocess
import sys

import pytest

from seppo.shipping.cache import BUNDLES, FILES, GRACE, LOCK, WORK, Sweeper, cache_folder, lock
from seppo.shipping.folders import BundleCache
from seppo.shipping.manifest import Manifest, ModuleEntry
from seppo.worker.workplace import Workplace


@pytest.fixture
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def manifest_of(text):
    digest = hashlib.sha256(text).hexdigest()
    return Manifest((ModuleEntry("m", digest=digest, size=len(text)),))


def make(text):
    cache = BundleCache()
    manifest = manifest_of(text)
    cache.add(manifest.modules[0].digest, text)
    return cache.make(manifest)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_bundle_that_is_used_stays(root):
    folder = make(b"1")
    sweeper = Sweeper()
    assert sweeper.sweep(0.0) is None
    assert sweeper.sweep(1000.0, grace=0.0) is None
    assert folder.is_there


def test_one_that_nobody_uses_goes_after_a_while(root):
    folder = make(b"1")
    folder.close()
    sweeper = Sweeper()
    assert sweeper.sweep(100.0) == GRACE
    assert sweeper.sweep(100.0 + GRACE - 1.0) == 1.0
    assert folder.path.exists()
    assert sweeper.sweep(100.0 + GRACE) == GRACE  # its file has lost its last link just now
    assert names(root / BUNDLES) == []
    assert sweeper.sweep(1000.0, grace=0.0) is None
    assert names(root / FILES) == []


def test_one_that_is_used_again_meanwhile_has_its_time_again(root):
    make(b"1").close()
    sweeper = Sweeper()
    sweeper.sweep(100.0)
    folder = BundleCache().find(manifest_of(b"1"))
    assert sweeper.sweep(150.0) is None
    folder.close()
    assert sweeper.sweep(200.0) == GRACE
    assert folder.path.exists()


def test_a_killed_process_holds_nothing(root):
    code = (
        "import os, sys\n"
        "from seppo.shipping.folders import BundleCache\n"
        "from seppo.worker.workplace import Workplace\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import test_cache\n"
        "folder = test_cache.make(b'1')\n"
        "place = Workplace('a/b', BundleCache())\n"
        "print(place.own, flush=True)\n"
        "sys.stdin.read(1)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, os.path.dirname(__file__)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    own = process.stdout.readline().strip()
    sweeper = Sweeper()
    assert sweeper.sweep(0.0, grace=0.0) is None
    assert os.path.isdir(own)
    assert len(names(root / BUNDLES)) == 1
    process.kill()
    process.communicate()
    sweeper.sweep(0.0, grace=0.0)
    assert names(root / BUNDLES) == names(root / WORK) == []


def test_files_that_are_being_collected_stay(root):
    cache = BundleCache()
    manifest = manifest_of(b"1")
    cache.missing(manifest)
    cache.add(manifest.modules[0].digest, b"1")
    Sweeper().sweep(0.0, grace=0.0)
    assert len(names(root / FILES)) == 1
    cache.make(manifest).close()
    Sweeper().sweep(0.0, grace=0.0)
    assert names(root / FILES) == []


def test_what_was_made_by_halves_goes_too(root):
    half = root / BUNDLES / "new-half"
    half.mkdir()
    (half / "code").mkdir()
    (half / "code").chmod(0o555)
    sweeper = Sweeper()
    assert sweeper.sweep(0.0) == GRACE
    assert sweeper.sweep(GRACE) is None
    assert names(root / BUNDLES) == []


def test_a_sweep_never_takes_what_is_just_being_taken_into_use(root, monkeypatch):
    make(b"1").close()
    swept = []
    real = fcntl.flock

    def flock(held, how):
        if not swept and how & fcntl.LOCK_SH:
            swept.append(True)
            Sweeper().sweep(0.0, grace=0.0)  # at the worst moment
        real(held, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert BundleCache().find(manifest_of(b"1")) is None
    assert swept


def test_a_lock_of_a_file_that_is_gone_is_none(root):
    path = root / LOCK
    held = lock(path)
    assert held is not None
    assert lock(path, fcntl.LOCK_EX) is None
    os.close(held)


def test_a_workplace_goes_with_its_owner_and_not_with_its_children(root):
    place = Workplace("w", BundleCache())
    own = place.own
    pid = os.fork()
    if pid == 0:
        place.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert own.exists()
    place.close()
    assert names(root / WORK) == []
