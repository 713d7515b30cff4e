"""Measures seppo against the other ways to run ``map`` in parallel, on one machine.

    python -m benchmarks --quick
    python -m benchmarks --rounds 7 --json bench.json --chart bench.png

::

    __main__   arguments -> runner -> table, JSON, chart
    runner     who runs what when: rounds of peers interleaved, limits of time
    process    a peer's child process: asked over pipes, ended with all it started
    child      the far end of the pipes: builds the peer, runs workloads, times them
    peers/     one door for every library: map, stream, submit
    workloads/ what is measured, how it is checked, and the aim
    results    figures of one workload: medians, ratios, aims
    table, chart, machine   what is printed, drawn and written down with it

Peers stay up with warm workers during the whole run. In each round every peer runs the
workload once, in an order that rotates, so that a machine that drifts hits all alike;
a ratio is the median of the ratios within rounds.
"""
