"""What a workload is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from benchmarks.peers.base import Peer
from benchmarks.results import Aim, Column, Measured, Results

Params = Mapping[str, Any]


class WrongResultError(Exception):
    """A peer returned something else than builtin ``map``."""


class Workload:
    """Something to measure; ``warm`` and ``run`` work in the child process of a peer.

    Attributes:
        name: Used in ``--workloads`` and in the JSON file.
        measures: What it tells, in words; ``{...}`` are parameters.
        full, quick: Sizes.
        reference: The peer to which times are compared.
        columns: Figures beside the time.
    """

    name: ClassVar[str]
    measures: ClassVar[str]
    full: ClassVar[Params]
    quick: ClassVar[Params]
    reference: ClassVar[str] = "pool"
    columns: ClassVar[tuple[Column, ...]] = ()

    def warm(self, peer: Peer, params: Params) -> None:
        """Do a little of it, unmeasured, once before the first round."""
        self.run(peer, {**params, **self.small(params)}, -1)

    def small(self, params: Params) -> Params:
        """Return the sizes for warming up."""
        return {"count": max(1, params["count"] // 20)}

    def run(self, peer: Peer, params: Params, round_number: int) -> Measured:
        """Run, check and time it.

        Raises:
            NotOffered: If the peer has no such way.
            WrongResultError: If the results are not those of builtin ``map``.
        """
        raise NotImplementedError  # each workload has its own

    def aims(self, results: Results) -> list[Aim]:
        """Return the aims of seppo in this workload."""
        return []


def check(is_right: bool, what: str) -> None:
    """Raise ``WrongResultError`` unless the result is right."""
    if not is_right:
        raise WrongResultError(f"wrong result: {what}")
