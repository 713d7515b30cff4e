"""Two clients on one machine get equal shares of it, whatever the length of their items."""

import os
from pathlib import Path

from cluster import wait_until

SPAN = 10.0  # seconds of processor time that both use; the kernel is fair over such a while
PATIENCE = 90.0  # seconds; others may use the machine, too
APART = 0.3  # of the mean; more than is seen on a machine with other work

CLIENT = """
import itertools, time
import seppo
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
for _ in seppo.map_parallel(spin, itertools.repeat({seconds}), fallback="error"):
    pass
"""


def processor_time(pids):
    """Return the seconds of processor time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_clients_with_short_and_with_long_items_get_equal_shares(own_cluster, tmp_path):
    cluster = own_cluster(2)
    clients = []
    for seconds in (0.001, 5.0):
        path = tmp_path / f"client{seconds}.py"
        path.write_text(CLIENT.format(seconds=seconds))
        clients.append(cluster.spawn(path))

    def held():
        """Return the processes of each client, once both have all that they can have."""
        (host,) = cluster.hosts()
        held = [[one["pid"] for one in client["processes"]] for client in host["clients"]]
        return held if list(map(len, held)) == [2, 2] else None

    pids = wait_until(held, "both clients at work")
    before = [processor_time(each) for each in pids]

    def used():
        return [processor_time(each) - start for each, start in zip(pids, before, strict=True)]

    wait_until(lambda: sum(used()) >= SPAN, lambda: str(used()), PATIENCE)
    first, second = used()
    assert abs(first - second) <= APART * (first + second) / 2, (first, second)
    assert all(client.poll() is None for client in clients)
