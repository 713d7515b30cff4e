"""Without workers: builtin ``map``, with the same extras."""

import itertools
import subprocess
import sys
import warnings

import pytest
import userland

import seppo
from seppo.interfaces import parallel


def test_serial_map_equals_builtin_map():
    assert list(seppo.map_parallel_serial(max, [1, 5], [3, 2])) == [3, 5]
    results = seppo.map_parallel_serial(userland.fails_on_odd, range(4))
    assert next(results) == 0
    with pytest.raises(ValueError, match="odd: 1"):
        next(results)
    assert next(results) == 2


def test_serial_map_gives_exceptions_as_values():
    found = list(seppo.map_parallel_serial(userland.fails_on_odd, range(3), return_exceptions=True))
    assert found[::2] == [0, 2]
    assert isinstance(found[1], ValueError)


def test_serial_map_can_be_closed_and_measured():
    with seppo.map_parallel_serial(abs, [1, 2, 3]) as results:
        assert len(results) == 3
        assert next(results) == 1
    assert list(results) == []
    with pytest.raises(TypeError):
        len(seppo.map_parallel_serial(abs, itertools.count()))


def test_serial_map_is_lazy():
    assert next(seppo.map_parallel_serial(abs, itertools.count(3))) == 3


def test_without_name_server_the_map_runs_here_with_one_warning(monkeypatch):
    monkeypatch.setattr(parallel, "_has_warned", False)
    with pytest.warns(RuntimeWarning, match=r"seppo worker.*seppo run") as caught:
        assert list(seppo.map_parallel(userland.square, [1, 2])) == [1, 4]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(seppo.map_parallel(userland.square, [3])) == [9]


def test_without_workers_of_the_group_the_map_runs_here(cluster, monkeypatch):
    monkeypatch.setattr(parallel, "_has_warned", False)
    with pytest.warns(RuntimeWarning, match="no worker of group 'empty'"):
        assert list(seppo.map_parallel(userland.square, [1, 2], group="empty")) == [1, 4]


def test_fallback_error_raises(cluster):
    with pytest.raises(seppo.NoWorkersError, match="no worker of group 'empty'"):
        seppo.map_parallel(abs, [1], group="empty", fallback="error")


def test_missing_workers_are_noticed_without_a_broadcast(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import seppo, sys, warnings\n"
        "events = set()\n"
        "sys.addaudithook(lambda event, _: events.add(event))\n"
        "warnings.simplefilter('ignore')\n"
        "print(list(seppo.map_parallel(abs, [-1])))\n"
        "print('socket.connect' in events, 'socket.sendto' in events)\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[1]\nTrue False\n"
