"""A function reaches each worker once, and a big one each host once."""

from seppo.engines.courier import REMEMBERED, Courier
from seppo.payload.function import SHARED_FROM, PackedFunction
from seppo.payload.protocol import Function, FunctionAt
from seppo.payload.serialize import Packed

SMALL = PackedFunction(b"s" * 32, Packed(b"small"))
BIG = PackedFunction(b"b" * 32, Packed(b"big", (bytes(SHARED_FROM),)))


def test_a_small_function_is_sent_once_to_each_worker():
    courier = Courier()
    for worker in ("a", "b"):
        assert courier.before_chunk(worker, "host", SMALL) == [Function(SMALL)]
        assert courier.before_chunk(worker, "host", SMALL) == []


def test_a_big_function_is_sent_once_to_each_host():
    courier = Courier()
    assert courier.before_chunk("a", "host1", BIG) == [Function(BIG)]
    assert courier.before_chunk("b", "host1", BIG) == []
    assert courier.before_chunk("c", "host2", BIG) == [Function(BIG)]
    assert courier.needed("b", "host1", BIG) == []
    assert courier.stored("a", "host1", BIG.digest, "there") == [
        ("b", FunctionAt(BIG.digest, "there"))
    ]
    assert courier.needed("d", "host1", BIG) == [("d", FunctionAt(BIG.digest, "there"))]


def test_workers_that_cannot_share_get_a_big_function_each():
    courier = Courier()
    assert courier.before_chunk("a", None, BIG) == [Function(BIG)]
    assert courier.before_chunk("b", None, BIG) == [Function(BIG)]


def test_a_second_question_is_answered_with_the_function_itself():
    courier = Courier()
    courier.before_chunk("a", "host", BIG)
    courier.stored("a", "host", BIG.digest, "there")
    assert courier.needed("b", "host", BIG) == [("b", FunctionAt(BIG.digest, "there"))]
    assert courier.needed("b", "host", BIG) == [("b", Function(BIG))]
    assert courier.needed("a", "host", BIG) == [("a", Function(BIG))]  # it has forgotten


def test_a_forgotten_small_function_is_sent_again():
    courier = Courier()
    courier.before_chunk("a", "host", SMALL)
    assert courier.needed("a", "host", SMALL) == [("a", Function(SMALL))]


def test_when_the_receiver_is_lost_another_one_takes_its_place():
    courier = Courier()
    courier.before_chunk("a", "host", BIG)
    assert courier.needed("b", "host", BIG) == []
    assert courier.needed("c", "host", BIG) == []
    assert courier.peer_lost("a") == [("b", Function(BIG))]
    assert courier.stored("a", "host", BIG.digest, "gone") == []
    assert courier.stored("b", "host", BIG.digest, "there") == [
        ("c", FunctionAt(BIG.digest, "there"))
    ]


def test_when_the_receiver_is_lost_and_nobody_asked_the_next_one_receives():
    courier = Courier()
    courier.before_chunk("a", "host", BIG)
    assert courier.peer_lost("a") == []
    assert courier.needed("b", "host", BIG) == [("b", Function(BIG))]
    courier.peer_lost("b")
    assert courier.before_chunk("c", "host", BIG) == [Function(BIG)]


def test_a_worker_that_asked_and_is_lost_is_forgotten():
    courier = Courier()
    courier.before_chunk("a", "host", BIG)
    courier.needed("b", "host", BIG)
    assert courier.peer_lost("b") == []
    assert courier.stored("a", "host", BIG.digest, "there") == []


def test_what_cannot_be_shared_is_sent_to_all_who_asked():
    courier = Courier()
    courier.before_chunk("a", "host", BIG)
    courier.needed("b", "host", BIG)
    assert courier.stored("a", "host", BIG.digest, "") == [("b", Function(BIG))]


def test_asking_twice_gets_one_answer():
    courier = Courier()
    courier.before_chunk("a", "host", BIG)
    assert courier.needed("b", "host", BIG) == courier.needed("b", "host", BIG) == []
    assert len(courier.stored("a", "host", BIG.digest, "there")) == 1


def test_functions_that_somebody_waits_for_are_not_forgotten():
    courier = Courier()
    courier.before_chunk("a", "host", BIG)
    courier.needed("b", "host", BIG)
    for i in range(2 * REMEMBERED):
        other = PackedFunction(i.to_bytes(32, "big"), BIG.packed)
        courier.before_chunk("a", "host", other)
    assert courier.stored("a", "host", BIG.digest, "there") != []
