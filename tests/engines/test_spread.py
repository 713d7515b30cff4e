"""How many processes each host is to give."""

from hypothesis import given
from hypothesis import strategies as st

from seppo.engines.spread import spread

HOSTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 64))


@given(HOSTS, st.data(), st.integers(0, 300))
def test_as_many_as_are_wanted_and_no_more_than_there_are(places, data, wanted):
    held = {host: data.draw(st.integers(0, n)) for host, n in places.items()}
    shares = spread(wanted, places, held)
    assert shares.keys() == places.keys()
    assert all(held[host] <= shares[host] <= n for host, n in places.items())
    assert sum(shares.values()) == max(sum(held.values()), min(wanted, sum(places.values())))


@given(HOSTS, st.integers(0, 300))
def test_hosts_are_filled_evenly(places, wanted):
    shares = spread(wanted, places, {})
    fullest = max((shares[host] / n for host, n in places.items()), default=0.0)
    assert all((shares[host] + 1) / n >= fullest for host, n in places.items())


def test_who_holds_more_than_there_are_places_is_asked_for_no_more():
    assert spread(4, {"a": 2, "b": 4}, {"a": 3, "c": 9}) == {"a": 2, "b": 2}
