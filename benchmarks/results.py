"""Figures of one workload: medians, ratios within rounds, aims."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One run of one workload: its time and what else was found out."""

    seconds: float
    facts: dict[str, float] = field(default_factory=dict)


@dataclass
class Entry:
    """What one peer did in one workload.

    Attributes:
        rounds: By number of the round; rounds may be missing.
        problem: Why there are no more rounds, or "".
        not_offered: What the peer lacks for this workload, or "".
    """

    rounds: dict[int, Measured] = field(default_factory=dict)
    problem: str = ""
    not_offered: str = ""


@dataclass
class Results:
    """What all peers did in one workload."""

    params: dict[str, Any]
    n_workers: int
    entries: dict[str, Entry] = field(default_factory=dict)

    def seconds(self, peer: str) -> list[float]:
        """Return the times of a peer's rounds."""
        entry = self.entries.get(peer)
        return [one.seconds for one in entry.rounds.values()] if entry else []

    def median(self, peer: str) -> float | None:
        """Return the median time of a peer."""
        times = self.seconds(peer)
        return median(times) if times else None

    def fact(self, peer: str, name: str) -> float | None:
        """Return the median of a fact; None if the peer has none."""
        entry = self.entries.get(peer)
        values = (
            [one.facts[name] for one in entry.rounds.values() if name in one.facts] if entry else []
        )
        return median(values) if values else None

    def ratio(self, peer: str, to: str) -> float | None:
        """Return the median over rounds of a peer's time by another's in the same round."""
        return self._ratio(peer, lambda number: self._time(to, number))

    def ratio_to_fact(self, peer: str, to: str, name: str) -> float | None:
        """Return the same, by a fact of another peer, or of its own."""
        return self._ratio(peer, lambda number: self._fact(to, name, number))

    def _ratio(self, peer: str, other: Callable[[int], float | None]) -> float | None:
        entry = self.entries.get(peer)
        ratios = []
        for number, one in entry.rounds.items() if entry else ():
            reference = other(number)
            if reference:
                ratios.append(one.seconds / reference)
        return median(ratios) if ratios else None

    def _time(self, peer: str, number: int) -> float | None:
        one = self._round(peer, number)
        return one.seconds if one else None

    def _fact(self, peer: str, name: str, number: int) -> float | None:
        one = self._round(peer, number)
        return one.facts.get(name) if one else None

    def _round(self, peer: str, number: int) -> Measured | None:
        entry = self.entries.get(peer)
        return entry.rounds.get(number) if entry else None


@dataclass(frozen=True)
class Aim:
    """What is to be reached, and what was.

    Attributes:
        text: The figure in words.
        value: As measured; None if it was not.
        limit: To stay under, or to get over.
        is_upper: The limit is the most, not the least.
    """

    text: str
    value: float | None
    limit: float
    is_upper: bool = True

    @property
    def is_reached(self) -> bool | None:
        """None if there is no figure."""
        if self.value is None:
            return None
        return (operator.le if self.is_upper else operator.ge)(self.value, self.limit)

    def __str__(self) -> str:
        aim = f"{self.text}, at {'most' if self.is_upper else 'least'} {self.limit:g}"
        if self.value is None:
            return f"not measured: {aim}"
        if self.is_reached:
            return f"reached: {self.value:.3g} ({aim})"
        by = abs(self.value / self.limit - 1) if self.limit else float("inf")
        return f"MISSED by {by:.0%}: {self.value:.3g} ({aim})"


@dataclass(frozen=True)
class Column:
    """A figure of a peer that belongs to one workload only."""

    title: str
    figure: Callable[[Results, str], float | None]
    decimals: int = 2


def fact_column(title: str, name: str, decimals: int = 1) -> Column:
    """Return the column of a fact that peers report."""
    return Column(title, lambda results, peer: results.fact(peer, name), decimals)
