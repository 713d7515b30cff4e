"""A function reaches each worker once, and a big one each host once; nothing is kept for ever."""

import gc
import weakref
from dataclasses import replace

from seppo.engines.courier import PATIENCE, REMEMBERED, Courier
from seppo.shipping.bundle import Bundle
from seppo.values.function import PackedFunction
from seppo.wire.messages import File, FunctionAt, NeedFiles
from seppo.wire.packed import SHARED_FROM, Packed

SMALL = PackedFunction(b"s" * 32, Packed(b"small"))
BIG = PackedFunction(b"b" * 32, Packed(b"big", (bytes(SHARED_FROM),)))
A, B = b"a" * 32, b"b" * 32


def unreadable():
    raise OSError("gone")


BUNDLE = Bundle(contents={A.hex(): b"content", B.hex(): unreadable})
BUNDLED = PackedFunction(b"f" * 32, Packed(b""), b"manifest", BUNDLE)


def nothing(_):
    """All that was to be sent was sent."""
    return 0


def test_a_small_function_is_sent_once_to_each_worker():
    courier = Courier()
    for worker in ("a", "b"):
        assert courier.before_chunk(worker, "host", 1, SMALL) == [SMALL.message]
        assert courier.before_chunk(worker, "host", 1, SMALL) == []


def test_a_big_function_is_sent_once_to_each_host():
    courier = Courier()
    assert courier.before_chunk("a", "host1", 1, BIG) == [BIG.message]
    assert courier.before_chunk("b", "host1", 1, BIG) == []
    assert courier.before_chunk("c", "host2", 1, BIG) == [BIG.message]
    assert courier.needed("b", "host1", BIG.digest, 0.0) == []
    assert courier.stored("a", "host1", BIG.digest, "there") == [
        ("b", FunctionAt(BIG.digest, "there"))
    ]
    assert courier.needed("d", "host1", BIG.digest, 0.0) == [("d", FunctionAt(BIG.digest, "there"))]


def test_workers_that_cannot_share_get_a_big_function_each():
    courier = Courier()
    assert courier.before_chunk("a", None, 1, BIG) == [BIG.message]
    assert courier.before_chunk("b", None, 1, BIG) == [BIG.message]


def test_a_second_question_is_answered_with_the_function_itself():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    courier.stored("a", "host", BIG.digest, "there")
    assert courier.needed("b", "host", BIG.digest, 0.0) == [("b", FunctionAt(BIG.digest, "there"))]
    assert courier.needed("b", "host", BIG.digest, 0.0) == [("b", BIG.message)]
    assert courier.needed("a", "host", BIG.digest, 0.0) == [("a", BIG.message)]  # it has forgotten


def test_a_forgotten_small_function_is_sent_again():
    courier = Courier()
    courier.before_chunk("a", "host", 1, SMALL)
    assert courier.needed("a", "host", SMALL.digest, 0.0) == [("a", SMALL.message)]


def test_when_the_receiver_is_lost_another_one_takes_its_place():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    assert courier.needed("b", "host", BIG.digest, 0.0) == []
    assert courier.needed("c", "host", BIG.digest, 0.0) == []
    assert courier.peer_lost("a", 0.0) == [("b", BIG.message)]
    assert courier.stored("a", "host", BIG.digest, "gone") == []
    assert courier.stored("b", "host", BIG.digest, "there") == [
        ("c", FunctionAt(BIG.digest, "there"))
    ]


def test_when_the_receiver_is_lost_and_nobody_asked_the_next_one_receives():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    assert courier.peer_lost("a", 0.0) == []
    assert courier.needed("b", "host", BIG.digest, 0.0) == [("b", BIG.message)]
    courier.peer_lost("b", 0.0)
    assert courier.before_chunk("c", "host", 1, BIG) == [BIG.message]


def test_a_worker_that_asked_and_is_lost_is_forgotten():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    courier.needed("b", "host", BIG.digest, 0.0)
    assert courier.peer_lost("b", 0.0) == []
    assert courier.stored("a", "host", BIG.digest, "there") == []


def test_what_cannot_be_shared_is_sent_to_all_who_asked():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    courier.needed("b", "host", BIG.digest, 0.0)
    assert courier.stored("a", "host", BIG.digest, "") == [("b", BIG.message)]


def test_asking_twice_gets_one_answer():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    assert (
        courier.needed("b", "host", BIG.digest, 0.0)
        == courier.needed("b", "host", BIG.digest, 0.0)
        == []
    )
    assert len(courier.stored("a", "host", BIG.digest, "there")) == 1


def test_functions_in_use_are_not_forgotten_and_others_only_when_there_are_many():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    courier.needed("b", "host", BIG.digest, 0.0)
    courier.before_chunk("a", "host", 2, SMALL)
    courier.job_over(2)
    for i in range(REMEMBERED - 1):
        courier.before_chunk("a", "host", 3, PackedFunction(i.to_bytes(32, "big"), BIG.packed))
        courier.job_over(3)
    assert courier.before_chunk("a", "host", 3, SMALL) == []
    assert courier.before_chunk("a", "host", 3, BIG) == []
    assert courier.stored("a", "host", BIG.digest, "there") != []


def test_what_was_sent_for_jobs_that_are_over_is_not_remembered_for_ever():
    courier = Courier()
    for job in range(3 * REMEMBERED):
        for worker in ("a", "b"):
            function = replace(SMALL, digest=job.to_bytes(32, "big"))
            courier.before_chunk(worker, None, job, function)
        courier.job_over(job)
    assert len(courier._entries) == REMEMBERED


class Tracked(bytearray):
    """Memory that can be referred to weakly."""


def test_a_function_is_let_go_when_its_job_is_over_though_nobody_has_stored_it():
    courier = Courier()
    memory = Tracked(SHARED_FROM)
    gone = weakref.ref(memory)
    big = PackedFunction(b"t" * 32, Packed(b"big", (memory,)))
    courier.before_chunk("a", "host", 1, big)  # it dies, and nobody asks any more
    courier.before_chunk("c", "other host", 1, big)  # it is frozen
    courier.needed("d", "other host", big.digest, 0.0)
    courier.peer_lost("a", 0.0)
    courier.job_over(1)
    del memory, big
    gc.collect()
    assert gone() is None
    assert courier.next_deadline() == float("inf")


def test_a_frozen_receiver_keeps_nobody_waiting_for_long():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    assert courier.next_deadline() == float("inf")  # nobody waits
    courier.needed("b", "host", BIG.digest, 10.0)
    courier.needed("c", "host", BIG.digest, 11.0)
    assert courier.next_deadline() == 10.0 + PATIENCE
    assert courier.overdue(9.0 + PATIENCE, nothing) == []
    assert courier.overdue(10.0 + PATIENCE, nothing) == [("b", BIG.message)]
    assert courier.next_deadline() == 10.0 + 2 * PATIENCE  # b may be frozen, too
    assert courier.stored("b", "host", BIG.digest, "there") == [
        ("c", FunctionAt(BIG.digest, "there"))
    ]
    assert courier.next_deadline() == float("inf")
    assert courier.stored("a", "host", BIG.digest, "thawed") == []
    assert courier.needed("d", "host", BIG.digest, 20.0) == [("d", FunctionAt(BIG.digest, "there"))]


def test_one_frozen_receiver_after_the_other_is_passed_over():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    for worker in ("b", "c", "d"):
        courier.needed(worker, "host", BIG.digest, 0.0)
    sent = [name for step in range(1, 9) for name, _ in courier.overdue(step * PATIENCE, nothing)]
    assert sent == ["b", "c", "d"]
    assert courier.next_deadline() == float("inf")


def test_a_receiver_on_a_slow_link_is_not_taken_for_frozen():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    courier.needed("b", "host", BIG.digest, 0.0)
    for step in range(1, 9):
        assert courier.overdue(step * PATIENCE, lambda _, step=step: 1000 - step) == []
    assert courier.overdue(9 * PATIENCE, lambda _: 992) == [("b", BIG.message)]


def test_a_receiver_that_was_only_slow_serves_all_who_still_wait():
    courier = Courier()
    courier.before_chunk("a", "host", 1, BIG)
    for worker in ("b", "c"):
        courier.needed(worker, "host", BIG.digest, 0.0)
    courier.overdue(PATIENCE, nothing)
    assert courier.stored("a", "host", BIG.digest, "thawed") == [
        ("c", FunctionAt(BIG.digest, "thawed"))
    ]
    assert courier.stored("b", "host", BIG.digest, "there") == []
    assert courier.next_deadline() == float("inf")


def test_files_are_given_or_it_is_said_why_not():
    courier = Courier()
    request = NeedFiles(BUNDLED.digest, (A, B, b"c" * 32))
    assert courier.files(request) == []
    courier.before_chunk("w", None, 1, BUNDLED)
    first, second, third = courier.files(request)
    assert first == File(A, b"content")
    assert "gone" in second.problem
    assert third.problem


def test_a_function_is_given_as_long_as_a_job_uses_it():
    courier = Courier()
    for job, worker in ((1, "w"), (1, "v"), (2, "w")):
        courier.before_chunk(worker, None, job, BUNDLED)
    assert courier.digests_of(1) == {BUNDLED.digest}
    courier.job_over(1)
    assert courier.needed("u", None, BUNDLED.digest, 0.0) == [("u", BUNDLED.message)]
    courier.job_over(2)
    assert courier.needed("u", None, BUNDLED.digest, 0.0) == []
    assert courier.files(NeedFiles(BUNDLED.digest, (A,))) == []
    courier.job_over(2)  # a second time is no harm


def test_a_job_whose_function_has_grown_uses_all_of_them_to_its_end():
    courier = Courier()
    grown = replace(BUNDLED, digest=b"g" * 32)
    courier.before_chunk("w", None, 1, BUNDLED)
    courier.before_chunk("w", None, 1, grown)
    assert courier.digests_of(1) == {BUNDLED.digest, grown.digest}
    courier.job_over(1)
    assert courier.digests_of(1) == set()


def test_what_is_different_on_a_worker_is_told_to_the_job_that_asks():
    courier = Courier()
    function = replace(BUNDLED, bundle=Bundle())
    courier.differs("w", function.digest, {"numpy": "1"})  # of no job
    courier.before_chunk("w", None, 1, function)
    courier.differs("w", function.digest, {"numpy": "2"})
    assert list(function.bundle.differences) == [("w", {"numpy": "2"})]
