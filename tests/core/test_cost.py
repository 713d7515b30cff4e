import pytest

from seppo.core.cost import UNKNOWN_CHARGE, Cost


def test_long_items_are_not_queued_behind_each_other():
    cost = Cost()
    assert not cost.is_quick  # nothing is known yet
    cost.measure(10, 0.1, 0, returned=10)
    assert cost.is_quick
    cost.measure(1, 5.0, 0, returned=1)
    assert not cost.is_quick


def test_costs_are_running_means():
    cost = Cost()
    cost.measure(2, 4.0, 200, returned=2)
    cost.measure(1, 1.0, 200, returned=1)
    cost.weigh(4, 40)
    assert (cost.seconds_per_item, cost.bytes_out, cost.bytes_in) == (1.5, 150.0, 10.0)


def test_the_largest_chunk_yet_decides_what_an_item_costs():
    cost = Cost()
    cost.measure(1, 0.1, 10, returned=1)
    cost.measure(8, 0.0008, 80, returned=8)
    assert cost.seconds_per_item == pytest.approx(0.0001)


def test_a_few_microseconds_say_little_about_an_item():
    cost = Cost()
    cost.measure(10_000, 0.001, 10, returned=10_000)
    cost.measure(1, 0.00001, 10, returned=1)
    assert cost.seconds_per_item == pytest.approx(1e-7, rel=0.6)


def test_results_in_parts_count_as_one_chunk_for_its_size():
    cost = Cost()
    cost.measure(3, 0.1, 0, returned=3)
    cost.measure(2, 0.1, 0, returned=5)
    cost.measure(1, 0.1, 0, returned=1)
    assert cost.largest_returned == 5


def test_the_median_counts_each_item_of_a_chunk():
    cost = Cost()
    assert cost.median is None
    cost.measure(1, 9.0, 0, returned=1)
    cost.measure(3, 3.0, 0, returned=3)
    assert cost.median == 1.0


def test_a_chunk_of_unknown_items_is_charged_alike_whatever_its_size():
    cost = Cost()
    assert cost.charge_for(1) == cost.charge_for(1000) == UNKNOWN_CHARGE
    cost.measure(1, 0.5, 0, returned=1)
    assert cost.charge_for(4) == 2.0


def test_a_job_of_the_same_likeness_begins_with_the_means_and_learns_for_itself():
    cost = Cost()
    cost.weigh(1, 7)
    cost.measure(4, 2.0, 40, returned=4)
    other = cost.carried_over()
    assert (other.seconds, other.median, other.largest_returned) == (0.5, 0.5, 4)
    assert (other.bytes_in, other.bytes_out) == (7.0, 10.0)
    other.measure(8, 16.0, 0, returned=8)
    assert (other.seconds, cost.seconds) == (2.0, 0.5)
    assert other.median == 2.0  # its own samples count alone
