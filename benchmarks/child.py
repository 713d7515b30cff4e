"""The child process of one peer: ``python -m benchmarks.child PEER WORKERS``.

Requests come as lines of JSON on stdin, answers go as lines of JSON to what was stdout;
what libraries print goes to stderr. It ends when stdin does.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import warnings
from dataclasses import asdict
from typing import Any, TextIO

from benchmarks.peers import PEERS, NotOffered, Peer
from benchmarks.workloads import WORKLOADS


def main() -> None:
    """Start the peer, answer requests, end the peer."""
    requests, answers = _take_pipes()
    warnings.simplefilter("ignore")  # libraries' advice, once a round
    peer = PEERS[sys.argv[1]]()
    n_workers = int(sys.argv[2])

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    start = time.perf_counter()
    try:
        peer.start(n_workers)
    except Exception as error:
        answer(error=_text(error))
        return
    answer(started=time.perf_counter() - start, version=_version(peer), pid=os.getpid())
    warm: set[str] = set()
    for line in requests:
        request = json.loads(line)
        if request.get("quit"):
            break
        answer(**_run(peer, request, warm))
    peer.close()
    answer(closed=True)


def _take_pipes() -> tuple[TextIO, TextIO]:
    """Keep the pipes for ourselves: neither libraries nor workers may write or read there."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _run(peer: Peer, request: dict[str, Any], warm: set[str]) -> dict[str, Any]:
    workload = WORKLOADS[request["workload"]]
    try:
        if workload.name not in warm:
            workload.warm(peer, request["params"])
            warm.add(workload.name)
        return asdict(workload.run(peer, request["params"], request["round"]))
    except NotOffered as reason:
        return {"not_offered": str(reason)}
    except Exception as error:
        return {"error": _text(error)}


def _version(peer: Peer) -> str:
    if not peer.package:
        return ""
    try:
        return importlib.metadata.version(peer.package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _text(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


if __name__ == "__main__":
    main()
