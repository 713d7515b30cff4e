"""What ``depends=`` names, sorted out."""

import os

from seppo.shipping.depends import Depends


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
