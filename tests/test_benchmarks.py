"""The benchmarks' own machinery: what they check, compare, limit and clean up."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.__main__ import parser
from benchmarks.peers import PEERS, NotOffered
from benchmarks.peers.standard import PoolMap, Serial
from benchmarks.process import marked_processes
from benchmarks.results import Aim, Entry, Measured, Results
from benchmarks.runner import Runner
from benchmarks.table import aims_table, peers_table, workload_table
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import WrongResultError
from benchmarks.workloads.maps import heavy_tailed, one_by_one

SIZES = {"count": 200, "chunk": 10, "loops": 100}


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(["serial", "pool"], 2, tmp_path, timeout=20.0)
    runner.start()
    yield runner
    runner.close()


def entry(*seconds: float, **facts: float) -> Entry:
    return Entry({i: Measured(one, facts) for i, one in enumerate(seconds)})


def test_ratio_is_taken_within_rounds() -> None:
    results = Results({}, 2, {"a": entry(1.0, 10.0, 100.0), "b": entry(2.0, 20.0, 50.0)})
    assert results.ratio("a", "b") == 0.5
    assert results.ratio("a", "nobody") is None


def test_rounds_that_the_other_lacks_do_not_count() -> None:
    results = Results({}, 2, {"a": entry(1.0, 10.0), "slow": entry(4.0)})
    assert results.ratio("a", "slow") == 0.25


def test_aim_says_by_how_much_it_is_missed() -> None:
    assert str(Aim("x", 0.9, 0.6)) == "MISSED by 50%: 0.9 (x, at most 0.6)"
    assert str(Aim("x", 0.8, 0.7, is_upper=False)) == "reached: 0.8 (x, at least 0.7)"
    assert str(Aim("x", None, 0.7)) == "not measured: x, at most 0.7"


def test_aims_are_within_reach_of_who_does_not_know_the_spans() -> None:
    spans = heavy_tailed(200, 4.0)
    assert one_by_one(spans, 2) < 1.02 * max(sum(spans) / 2, spans[-1])


@pytest.mark.parametrize("name", ["tiny", "millisecond", "heavy_tail", "arrays", "closure", "lazy"])
def test_wrong_results_are_noticed(name: str) -> None:
    class Liar(Serial):
        def map(self, func, items, chunk):
            return [func(item) for item in items][:-1] + [0]

        def stream(self, func, items, count, chunk):
            results = [func(item) for item in items]
            return iter(results[:-2] + results[:-3:-1])

    workload = WORKLOADS[name]
    small = {"count": 8, "megabytes": 1, "total": 0.01, "loops": 10, "chunk": 2, "n_workers": 2}
    workload.run(Serial(), small, 0)
    with pytest.raises(WrongResultError):
        workload.run(Liar(), small, 0)


@pytest.mark.parametrize("name", ["latency", "bandwidth", "startup"])
def test_peer_that_has_no_such_way_says_so(name: str) -> None:
    sizes = {**WORKLOADS[name].quick, "n_workers": 2}
    with pytest.raises(NotOffered):
        WORKLOADS[name].run(Serial(), sizes, 0)


def test_peers_run_in_rounds_and_leave_nothing(runner: Runner) -> None:
    tokens = [child.token for child in runner._children.values()]
    if os.path.isdir("/proc/self"):
        assert all(map(marked_processes, tokens))
    tiny = WORKLOADS["tiny"]
    results = runner.run(tiny, SIZES, rounds=3)
    runner.close()
    assert {name: len(one.rounds) for name, one in results.entries.items()} == {
        "serial": 3,
        "pool": 3,
    }
    assert not any(map(marked_processes, tokens))
    assert not any(record.left for record in runner.records.values())
    assert "Pool.map" in workload_table(tiny, results)
    assert "Pool.map" in peers_table(runner.records)
    assert aims_table({"tiny": (tiny, results)}) == "aims\n"  # seppo did not take part


def test_peer_that_dies_is_named_and_started_again(runner: Runner) -> None:
    os.kill(runner._children["pool"].process.pid, signal.SIGKILL)
    dead = runner.run(WORKLOADS["tiny"], SIZES, rounds=2)
    assert "ended (-9)" in dead.entries["pool"].problem
    assert len(dead.entries["serial"].rounds) == 2
    assert "ended (-9)" in workload_table(WORKLOADS["tiny"], dead)
    again = runner.run(WORKLOADS["tiny"], SIZES, rounds=2)
    assert len(again.entries["pool"].rounds) == 2


def test_peer_that_does_not_answer_is_named(runner: Runner) -> None:
    runner.timeout = 0.3
    results = runner.run(WORKLOADS["heavy_tail"], {"count": 2, "total": 2.0, "chunk": 1}, 1)
    assert results.entries["pool"].problem == "no answer within 0.3 s"


def test_peer_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(PoolMap):
        module = "no_such_module"

    monkeypatch.setitem(PEERS, "pool", Missing)
    runner = Runner(["pool"], 1, tmp_path, timeout=1.0)
    runner.start()
    results = runner.run(WORKLOADS["tiny"], SIZES, 1)
    assert results.entries["pool"].problem == "not installed"


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--peers", "pool,pol"])
    assert "'pol'" in capsys.readouterr().err


def test_sizes_are_plain_values() -> None:
    for workload in WORKLOADS.values():
        assert set(workload.quick) == set(workload.full)
        json.dumps([dict(workload.full), dict(workload.quick)])
        workload.measures.format(**workload.full)
