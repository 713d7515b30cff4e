"""Shares of hosts: how many processes to lease from which one; a pure function."""

from __future__ import annotations

import heapq
from collections.abc import Mapping


def spread(wanted: int, places: Mapping[str, int], held: Mapping[str, int]) -> dict[str, int]:
    """Return how many processes to hold at each host.

    Those that are held already count first. Others come from the host that would then be
    the least full, so that a few items do not crowd on one machine while others are idle.

    Args:
        wanted: Processes that there is work for.
        places: How many each host has.
        held: How many of each host are held.

    >>> spread(3, {"a": 2, "b": 4}, {})
    {'a': 1, 'b': 2}
    >>> spread(9, {"a": 2, "b": 4}, {"a": 1})
    {'a': 2, 'b': 4}
    >>> spread(1, {"a": 2, "b": 4}, {"b": 1})
    {'a': 0, 'b': 1}
    """
    shares = {host: min(held.get(host, 0), n) for host, n in places.items()}
    left = wanted - sum(shares.values())
    emptiest = [
        ((shares[host] + 1) / n, number, host)
        for number, (host, n) in enumerate(places.items())
        if shares[host] < n
    ]
    heapq.heapify(emptiest)
    while left > 0 and emptiest:
        _, number, host = emptiest[0]
        shares[host] += 1
        left -= 1
        if shares[host] < places[host]:
            heapq.heapreplace(emptiest, ((shares[host] + 1) / places[host], number, host))
        else:
            heapq.heappop(emptiest)
    return shares
