"""What ``depends=`` names, sorted out."""

import os
import socket

import pytest

from seppo.errors import ConfigurationError
from seppo.shipping.depends import Depends


@pytest.mark.parametrize("sort", ["pipe", "socket", "device"])
@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_neither_file_nor_folder_is_refused_at_once(tmp_path, monkeypatch, sort, is_link):
    monkeypatch.chdir(tmp_path)
    if sort == "pipe":
        os.mkfifo("it")
    elif sort == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("it")
    name = "/dev/zero" if sort == "device" else "it"
    if is_link:
        os.symlink(name, "link")
        name = "link"
    with pytest.raises(ConfigurationError, match="neither a file nor a directory"):
        Depends.of([name])


def folders_of(path):
    found = Depends.of([path]).data
    return {entry.path: entry.digest for entry in found if entry.is_folder}


def test_folders_are_named_by_what_is_in_them(tmp_path):
    top = tmp_path / "top"
    (top / "empty").mkdir(parents=True)
    (top / "deep").mkdir()
    (top / "deep" / "file").write_text("")
    before = folders_of(top)
    assert set(before) == {"top", "top/empty", "top/deep"}
    (top / "__pycache__").mkdir()
    (top / ".hidden").write_text("")
    os.mkfifo(top / "pipe")  # it does not travel
    os.symlink("nowhere", top / "link")
    assert folders_of(top) == before
    (top / "deep" / "file").rename(top / "deep" / "other")
    after = folders_of(top)
    assert after["top/deep"] != before["top/deep"]
    assert after["top/empty"] == before["top/empty"]
    assert after["top"] == before["top"]
    (top / "empty").rmdir()
    assert folders_of(top)["top"] != before["top"]
