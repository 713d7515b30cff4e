"""What a worker process is told."""

from __future__ import annotations

from seppo.wire.config import THREAD_VARIABLES, WorkerConfig, cpus, limit_threads


def test_the_configuration_comes_back_from_its_line():
    config = WorkerConfig(
        name="w", group="a 'b' \u00e4", host="::1", supervisor="seppo.h", threads=3,
        ns_host="ns", ns_port=9090, preload=("a.b", "c"), memory=1, max_items=2, nice=3,
    )  # fmt: skip
    line = config.to_json()
    assert "\n" not in line
    assert WorkerConfig.from_json(line) == config


def test_threads_are_limited_unless_the_user_has_set_them():
    environ = {"OMP_NUM_THREADS": "7"}
    limit_threads(environ, 2)
    assert environ.pop("OMP_NUM_THREADS") == "7"
    assert environ == {name: "2" for name in THREAD_VARIABLES if name != "OMP_NUM_THREADS"}


def test_there_is_at_least_one_cpu():
    assert cpus() >= 1
