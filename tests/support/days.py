"""Simulated days whose cluster, items, options and faults are drawn from a seed."""

import math
import random
from functools import partial

from simulated import Faults, SimulatedCluster, SimulatedJob

from seppo.core.events import Policy

ROUGH = Faults(life=1.5, undead=0.5, rejoin=0.3, talk=0.7, silence=1.5, repeat=0.3)


def mixed_costs(rnd, n_items):
    """Items of all kinds: instant ones, ordinary ones, long ones."""
    kinds = [rnd.choice([0.0, 1e-6, 1e-4, 0.01, 0.1, 1.7]) for _ in range(3)]
    return [rnd.choice(kinds) * rnd.lognormvariate(0, 0.5) for _ in range(n_items)]


def rough_day(seed, duplicate=True, **arguments):
    """Workers are lost every second, and nobody can tell why; no item is guilty."""
    rnd = random.Random(seed)
    n_items = rnd.choice([0, 1, 2, 10, 80, 300])
    policy = Policy(
        chunksize=rnd.choice([None, None, 1, 7]),
        ordered=rnd.random() < 0.7,
        max_ahead=rnd.choice([1, 3, 1 << 20]),
        max_workers=rnd.choice([None, None, 1, 3]),
        retries_on_loss=10**9,  # no item is guilty
        duplicate=duplicate,
    )
    speeds = [rnd.choice([0.25, 1.0, 4.0]) for _ in range(50)]
    options = {
        "n_workers": rnd.choice([1, 2, 5, 12]),
        "seed": seed,
        "policy": policy,
        "speed": lambda number: speeds[number % 50],
        "latency": rnd.choice([0.0, 0.0002, 0.05]),
        "take": rnd.choice([0.0, 0.0, 0.02]),
        "reads_ahead": rnd.random() < 0.5,
        "faults": ROUGH,
        "max_steps": 60_000,
    }
    costs = mixed_costs(rnd, n_items)
    return SimulatedCluster(n_items, costs.__getitem__, **{**options, **arguments})


def hard_day(seed, **arguments):
    """Several jobs; workers freeze, drain and die, and supervisors tell of what."""
    rnd = random.Random(seed)
    n_items = rnd.choice([1, 5, 30, 100])
    deadly = {index for index in range(n_items) if rnd.random() < rnd.choice([0, 0, 0.05])}
    retries, duplicate = rnd.choice([(2, True), (2, True), (1, False), (0, False), (0, True)])
    policy = Policy(
        chunksize=rnd.choice([None, None, 1, 7]),
        ordered=rnd.random() < 0.7,
        max_ahead=rnd.choice([3, 1 << 20]),
        max_workers=rnd.choice([None, None, 2]),
        retries_on_loss=retries,
        duplicate=duplicate,
    )
    faults = Faults(
        life=rnd.choice([5.0, 30.0, math.inf]),
        told=1.0,
        vague=rnd.choice([0.0, 0.5]),
        rejoin=0.3,
        talk=rnd.choice([math.inf, 5.0]),
        silence=rnd.choice([0.5, 3.0]),
        repeat=0.2,
        deadly=deadly,
        freeze=rnd.choice([math.inf, 8.0, 30.0]),
        thaw=rnd.choice([1.5, 8.0, math.inf]),
        drain=rnd.choice([math.inf, 15.0]),
    )
    options = {
        "n_workers": rnd.choice([2, 3, 8]),
        "n_jobs": rnd.choice([1, 1, 3]),
        "seed": seed,
        "policy": policy,
        "speed": lambda number: [1.0, 1.0, 0.1][number % 3],
        "latency": rnd.choice([0.0002, 0.05]),
        "take": rnd.choice([0.0, 0.0, 0.02]),
        "reads_ahead": rnd.random() < 0.3,
        "faults": faults,
        "max_steps": 200_000,
    }
    kinds = [rnd.choice([1e-4, 0.01, 0.1, 0.8, 2.5]) for _ in range(2)]
    costs = [rnd.choice(kinds) * rnd.lognormvariate(0, 0.5) for _ in range(n_items)]
    return SimulatedCluster(n_items, costs.__getitem__, **{**options, **arguments})


def shared_day(seed, **arguments):
    """Jobs that change what their items cost, come late, and have nothing to do at times."""
    rnd = random.Random(seed)
    kinds = [0.005, 0.03, 0.1, 0.7, 3.0]
    jobs = []
    for _ in range(rnd.choice([2, 3, 5])):
        early, late = rnd.choice(kinds), rnd.choice(kinds)
        cost = rnd.choice(
            [
                partial(_changing_cost, early, late, rnd.choice([0, 60])),
                partial(_changing_cost, 1e-5, late, 5000),  # full chunks turn long
                partial(_mixed_cost, max(early / 10, 0.003), early, rnd.choice([3, 20])),
            ]
        )
        opens_at = rnd.choice([0.0, 0.0, rnd.uniform(0, 15)])
        jobs.append(SimulatedJob(10**7, cost, opens_at=opens_at))
    for _ in range(rnd.choice([0, 0, 1, 2])):
        policy = Policy(ordered=False, taken_on_delivery=True, duplicate=False)
        cost = partial(_changing_cost, 0.0, rnd.choice(kinds), 0)
        burst, pause = rnd.choice([1, 4, 30]), rnd.choice([0.1, 3.0])
        opens_at = rnd.uniform(0, 5)
        jobs.append(SimulatedJob(10**6, cost, policy, opens_at, burst, pause))
    options = {
        "jobs": jobs,
        "n_workers": rnd.choice([1, 2, 3, 6]),
        "seed": seed,
        "leave_at": 30.0,
        "max_steps": 10**7,
        "audit_every": 1000,
    }
    return SimulatedCluster(**{**options, **arguments})


def _changing_cost(early, late, change, index):
    return early if index < change else late


def _mixed_cost(short, long, every, index):
    return long if index % every == 0 else short
