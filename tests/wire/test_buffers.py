"""Memory is used again only when nobody refers to it any more."""

import numpy

from seppo.wire.buffers import POOLED_FROM, BufferPool

SIZE = 4 * POOLED_FROM


def test_memory_in_use_is_not_given_out_again():
    pool = BufferPool()
    views = [pool.take(SIZE) for _ in range(5)]
    assert len({id(view.obj) for view in views}) == 5


def test_dropped_memory_is_given_out_again():
    pool = BufferPool()
    memory = id(pool.take(SIZE).obj)
    assert id(pool.take(SIZE - 10).obj) == memory


def test_an_array_over_the_memory_keeps_it():
    pool = BufferPool()
    array = numpy.frombuffer(pool.take(SIZE), dtype="u1")[10:20]
    array[:] = 7
    for _ in range(5):
        pool.take(SIZE)[:] = bytes(SIZE)
    assert array.tolist() == [7] * 10


def test_memory_is_of_the_size_asked_for_and_writable():
    pool = BufferPool()
    for size in (0, 1, POOLED_FROM, SIZE, SIZE // 2 + 1):
        view = pool.take(size)
        assert len(view) == size
        assert not view.readonly


def test_much_larger_memory_is_not_wasted_on_a_small_part():
    pool = BufferPool()
    memory = id(pool.take(16 * SIZE).obj)
    assert id(pool.take(SIZE).obj) != memory


def test_the_pool_keeps_no_more_than_it_may():
    pool = BufferPool(largest=4 * SIZE)
    for n in range(20):
        pool.take(SIZE - n)
        held = [pool.take(SIZE) for _ in range(8)]
        del held
    assert sum(map(len, pool._buffers)) <= 4 * SIZE
    assert len(pool.take(100 * SIZE)) == 100 * SIZE  # given out, not kept
    assert sum(map(len, pool._buffers)) <= 4 * SIZE
