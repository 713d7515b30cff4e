"""The list of revoked certificates: what is read, and what refuses everybody."""

from __future__ import annotations

import os

import pytest

from seppo.errors import SecurityError
from seppo.trust.revoked import LARGEST, parse_list, read_list


def test_no_list_revokes_nobody(tmp_path):
    assert read_list(tmp_path / "revoked") == {}


def test_serial_numbers_are_told_alike_however_they_are_written():
    assert parse_list(b"00ab12 lab\n\nCD34\n") == {"AB12": "lab", "CD34": "-"}


@pytest.mark.parametrize(
    "data",
    [b"lab AB12", b"AB12\x00", b"\xff", b"AB12\x0bCD34", b"A" * 50, b"\n" * (LARGEST + 1)],
)
def test_a_list_that_makes_no_sense_is_refused(tmp_path, data):
    (tmp_path / "revoked").write_bytes(data)
    with pytest.raises(SecurityError, match="the list of certificates"):
        read_list(tmp_path / "revoked")


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_list_that_others_can_change_is_refused(tmp_path, mode):
    (tmp_path / "revoked").write_text("AB12\n")
    (tmp_path / "revoked").chmod(mode)
    with pytest.raises(SecurityError, match="changed by others"):
        read_list(tmp_path / "revoked")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "revoked")
    with pytest.raises(SecurityError, match="not a file"):
        read_list(tmp_path / "revoked")


def test_a_list_that_has_changed_is_read_again(tmp_path):
    (tmp_path / "revoked").write_text("AB12\n")
    assert set(read_list(tmp_path / "revoked")) == {"AB12"}
    (tmp_path / "revoked").write_text("AB12\nCD34\n")
    assert set(read_list(tmp_path / "revoked")) == {"AB12", "CD34"}
