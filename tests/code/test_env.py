"""Environment variables that a map wants on its workers."""

from __future__ import annotations

import os

import pytest

import seppo


def variable(name):
    return os.environ.get(name)


@pytest.mark.parametrize("how", [seppo.map_parallel, seppo.map_parallel_serial])
def test_variables_are_set_where_the_function_runs_and_nowhere_else(cluster, how):
    env = {"COLOUR": "blue"}
    assert list(how(variable, ["COLOUR"] * 3, env=env, fallback="error")) == ["blue"] * 3
    assert list(how(variable, ["COLOUR"], fallback="error")) == [None]
    assert "COLOUR" not in os.environ


def test_maps_with_other_variables_have_other_processes(cluster):
    found = {}
    for colour in ("red", "green", "red"):
        results = seppo.map_parallel(
            lambda _: (os.environ["COLOUR"], os.getpid()), range(8), env={"COLOUR": colour}
        )
        for seen, process in results:
            assert seen == colour
            assert found.setdefault(process, colour) == colour


@pytest.mark.parametrize("env", [{"A": 1}, {1: "a"}, {"A=B": "c"}, {"": "a"}, {"A": "\0"}])
def test_what_is_no_variable_is_refused_at_once(env):
    with pytest.raises((TypeError, ValueError), match=r"env|variable"):
        seppo.map_parallel(variable, ["A"], env=env)
