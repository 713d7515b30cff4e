"""What is not the same on the workers is told once, and then not looked at again."""

from __future__ import annotations

import warnings

import pytest

from seppo.interfaces import differences
from seppo.interfaces.differences import tell_differences
from seppo.shipping.bundle import Bundle
from seppo.shipping.manifest import Manifest


@pytest.fixture
def bundle(monkeypatch):
    monkeypatch.setattr(differences, "_told", set())
    return Bundle(Manifest(environment={"numpy": "2.0"}))


def test_what_all_workers_say_is_told_once_and_not_kept(bundle):
    bundle.differences.extend((f"w{i}", {"numpy": "1.9"}) for i in (3, 1, 2, 0))
    with pytest.warns(RuntimeWarning, match=r"numpy +2\.0 +1\.9 +w0, w1, w2 and 1 more"):
        tell_differences(bundle)
    assert not bundle.differences
    bundle.differences.append(("w4", {"numpy": "1.9"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_differences(bundle)
    assert not bundle.differences


def test_what_is_missing_and_what_is_new_is_told(bundle):
    bundle.differences.append(("w0", {"numpy": ""}))
    with pytest.warns(RuntimeWarning, match=r"numpy +2\.0 +missing +w0"):
        tell_differences(bundle)
    bundle.differences.append(("w1", {"numpy": "1.8"}))
    with pytest.warns(RuntimeWarning, match=r"numpy +2\.0 +1\.8 +w1"):
        tell_differences(bundle)
