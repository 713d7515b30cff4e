"""The folder for Unix sockets: where it is, and what is swept there."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from seppo.host.local import local_host, sweep
from seppo.trust.sockets import bind


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(dir="/tmp") as path:  # pytest's names are too long
        yield Path(os.path.realpath(path))


def environ(home, **more):
    return {"XDG_RUNTIME_DIR": str(home), "XDG_CACHE_HOME": str(home / "cache"), **more}


def in_cache(home):
    (found,) = (home / "cache").glob("seppo/*/sockets")
    return f"./u:{found}"


def test_it_is_in_the_runtime_folder(home):
    assert local_host(environ(home)) == f"./u:{home}/seppo"
    assert local_host(environ(home)) == f"./u:{home}/seppo"  # made already


def test_a_runtime_folder_may_be_behind_a_link(home):
    (home / "run").mkdir(mode=0o700)
    (home / "var").symlink_to("run")
    assert local_host(environ(home, XDG_RUNTIME_DIR=str(home / "var"))) == f"./u:{home}/run/seppo"


@pytest.mark.parametrize("value", ["", "relative", "/nowhere/at/all"])
def test_without_a_runtime_folder_it_is_in_the_cache_folder(home, value):
    assert local_host(environ(home, XDG_RUNTIME_DIR=value)) == in_cache(home)


def test_a_runtime_folder_that_others_can_enter_is_left_alone(home):
    home.chmod(0o755)
    assert local_host(environ(home)) == in_cache(home)


def test_so_is_a_folder_in_it_that_others_can_enter(home):
    (home / "seppo").mkdir()
    (home / "seppo").chmod(0o755)
    assert local_host(environ(home)) == in_cache(home)


def test_so_is_a_link_in_it(home):
    (home / "elsewhere").mkdir(mode=0o700)
    (home / "seppo").symlink_to("elsewhere")
    assert local_host(environ(home)) == in_cache(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_so_is_a_runtime_folder_of_somebody_else(home):
    os.chown(home, 65534, 65534)  # what root has after 'su'
    assert local_host(environ(home)) == in_cache(home)


def test_where_all_paths_are_too_long_there_is_none(home):
    long = home / ("n" * 100)
    long.mkdir(mode=0o700)
    assert local_host({"XDG_RUNTIME_DIR": str(long), "XDG_CACHE_HOME": str(long)}) == ""


def test_only_sockets_on_which_nobody_listens_are_swept(home):
    live, _, _ = bind(f"./u:{home}", 0)
    live.listen()
    dead, gone, _ = bind(f"./u:{home}", 0)
    dead.close()
    (home / "seppo-file").touch()
    (home / "other").touch()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(home / "bus"))
    before = set(home.iterdir())
    sweep(home)
    assert set(home.iterdir()) == before  # it may be about to listen
    for path in before:
        os.utime(path, (0, 0))
    sweep(home)
    assert before - set(home.iterdir()) == {Path(gone.removeprefix("./u:"))}
    live.close()
