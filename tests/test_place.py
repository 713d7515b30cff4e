"""Where this code runs."""

import os
import re
import sys
import warnings

import pytest

from seppo.place import level_of_caller, machine_domain, namespace_of, user_domain

linux = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")


@linux
def test_namespaces_are_those_of_this_kernel_and_process():
    boot = {namespace_of(kind).partition("/")[0] for kind in ("mnt", "net", "pid")}
    assert len(boot) == 1
    assert namespace_of("net").endswith(os.readlink("/proc/self/ns/net"))
    assert namespace_of("mnt") in machine_domain()


@linux
def test_what_nobody_can_tell_is_an_os_error():
    with pytest.raises(OSError, match="strange"):
        namespace_of("strange")


OURS = """
def warn():
    inner()
def inner():
    warnings.warn("x", stacklevel=level_of_caller())
"""


def test_a_warning_points_at_the_first_line_that_is_not_ours():
    ours = {"__name__": "seppo.x", "warnings": warnings, "level_of_caller": level_of_caller}
    exec(OURS, ours)
    with pytest.warns(UserWarning, match="x") as caught:
        ours["warn"]()
    assert caught[0].filename == __file__


def test_the_domain_of_a_user_tells_nothing_and_is_for_one_user(monkeypatch):
    ours = user_domain()
    assert ours == user_domain()
    assert re.fullmatch("[0-9a-f]{32}", ours)
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    assert user_domain() != ours
