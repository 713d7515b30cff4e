"""Tools for tests: a simulated cluster that drives the real scheduler in virtual time.

    SimulatedCluster          Scheduler (the real one)      simulated workers
    ----------------          ------------------------      -----------------
    heap of happenings  -->   handle(event, now)
    clock, consumer     <--   commands  ---- latency --->   run items, give back the rest
    invariants                events    <--- latency ----   tell results once a second

One thread, no sleep, no socket: a day of a thousand workers passes in seconds, and the
same seed gives the same day. After every step the cluster checks what must always hold:
each result is delivered exactly once, and in order if that was asked for; no chunk goes
to a worker that is lost or drains; no worker holds more than two; every item is in exactly
one place, besides copies, of which there is one at most at workers that answer; no item
is given up that has not lost its workers, nor later than allowed; where nothing may begin
twice, nothing does; the jobs end within a fixed number of steps. What does not hold raises
``SimulationError``, which tells the seed and the last events.

>>> faults = Faults(life=0.2, rejoin=0.1)
>>> day = SimulatedCluster(100, lambda index: 0.01, n_workers=4, faults=faults)
>>> report = day.run()
>>> report.n_delivered, report.lost_items, report.makespan < 2 * report.bound
(100, (), True)
"""

from simulated.cluster import SimulatedCluster
from simulated.facts import Faults, SimulatedJob, SimulationError, SimulationReport

__all__ = [
    "Faults",
    "SimulatedCluster",
    "SimulatedJob",
    "SimulationError",
    "SimulationReport",
]
