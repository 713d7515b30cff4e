"""Functions and their data travel once: counted in frames and in the memory of workers."""

import os
from collections import Counter

import numpy
import pytest
import userland
from cluster import is_alive, wait_until

import seppo
from seppo.wire.messages import Function, FunctionAt
from seppo.wire.peer import Peer

MIB = 1 << 20


@pytest.fixture
def sent(monkeypatch):
    """Count the messages that this process sends, by kind."""
    counted = Counter()
    send = Peer.send

    def counting(self, message, lender=None):
        counted[type(message)] += 1
        send(self, message, lender)

    monkeypatch.setattr(Peer, "send", counting)
    return counted


def test_a_function_is_sent_once_to_each_worker_whatever_the_number_of_maps(cluster, sent):
    offset = 12345

    def shifted(x):
        return x + offset

    for _ in range(5):
        assert list(seppo.map_parallel(shifted, range(100))) == list(range(offset, offset + 100))
    assert sent[Function] <= 2


def test_a_big_closure_is_sent_once_to_the_host_and_mapped_by_the_others(own_cluster, sent):
    own_cluster(3)
    table = numpy.arange(8 * MIB, dtype="u1")  # 8 MiB

    def look_up(i):
        import time

        time.sleep(0.05)
        return int(table[i]), os.getpid()

    found = list(seppo.map_parallel(look_up, range(40)))
    assert [value for value, _ in found] == [int(table[i]) for i in range(40)]
    assert len({pid for _, pid in found}) == 3
    assert sent[Function] == 1
    assert sent[FunctionAt] == 2


def test_workers_of_a_host_hold_one_copy(own_cluster):
    own_cluster(3)
    table = numpy.ones(32 * MIB, dtype="u1")

    def private_memory(i):
        import re
        import time

        total = int(table[::4096].sum())  # touches every page
        time.sleep(0.05)
        with open("/proc/self/smaps") as file:
            maps = file.read().split("memfd:seppo")[1:]
        shared = sum(int(re.search(r"Private_Dirty:\s+(\d+)", each)[1]) for each in maps)
        mapped = sum(int(re.search(r"Rss:\s+(\d+)", each)[1]) for each in maps)
        return os.getpid(), total, shared, mapped

    seen = {}
    for pid, total, shared, mapped in seppo.map_parallel(private_memory, range(30)):
        assert total == 8192
        seen[pid] = (shared, mapped)
    assert len(seen) == 3
    for shared, mapped in seen.values():
        assert mapped >= 32 * 1024  # it is all there
        assert shared < 1024  # and none of it is this worker's own


def test_a_worker_may_write_into_its_data_and_nobody_else_sees_it(cluster):
    table = numpy.zeros(2 * MIB, dtype="u1")

    def write(i):
        import time

        table[i] += 1
        time.sleep(0.02)
        return int(table.sum()), os.getpid()

    sums = {}
    for total, pid in seppo.map_parallel(write, range(20)):
        sums.setdefault(pid, []).append(total)
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in sums.values())
    assert table.sum() == 0


def test_nothing_is_left_in_shared_memory_when_a_worker_is_killed(own_cluster):
    before = set(os.listdir("/dev/shm"))
    cluster = own_cluster(2)
    table = numpy.ones(4 * MIB, dtype="u1")
    assert list(seppo.map_parallel(lambda i: int(table[i]), range(10))) == [1] * 10
    pids = cluster.pids()
    for pid in pids:
        os.kill(pid, 9)
    wait_until(lambda: not any(map(is_alive, pids)), "their end")
    assert set(os.listdir("/dev/shm")) == before


def test_the_same_map_again_sends_only_items(cluster, sent):
    list(seppo.map_parallel(userland.square, range(10)))
    list(seppo.map_parallel(userland.square, [1, 2, 3]))
    before = sent[Function]
    for _ in range(20):
        assert list(seppo.map_parallel(userland.square, [5])) == [25]
    assert sent[Function] == before


def test_a_map_with_a_big_closure_can_be_given_up_and_called_again(cluster):
    table = numpy.ones(4 * MIB, dtype="u1")

    def look_up(i):
        return int(table[i])

    for _ in range(4):
        seppo.map_parallel(look_up, range(10)).close()
        assert sum(seppo.map_parallel(look_up, range(40))) == 40


def test_many_big_closures_in_a_row_are_not_mixed_up(own_cluster):
    own_cluster(1)
    for i in range(8):
        data = numpy.full(2 * MIB, i, dtype="u1")
        seppo.map_parallel(lambda _, data=data: int(data[-1]), range(4)).close()
        assert set(seppo.map_parallel(lambda _, data=data: int(data[-1]), range(3))) == {i}


def test_descriptors_do_not_pile_up_on_the_workers(own_cluster):
    own_cluster(1)

    def descriptors(_):
        return len(os.listdir("/proc/self/fd"))

    (before,) = seppo.map_parallel(descriptors, [0])
    for i in range(40):
        data = bytes([i]) * (200 * 1024)
        list(seppo.map_parallel(lambda _, data=data: data[0], range(2)))
    (after,) = seppo.map_parallel(descriptors, [0])
    assert after <= before + 4
