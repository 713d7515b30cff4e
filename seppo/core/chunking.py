"""Chunk sizes: pure functions for how many items go into the next chunk.

Big chunks cost little, small chunks balance well. Since a chunk is a loan that can be
called back, the choice need not be perfect: it starts with one item, grows by at most
``GROWTH`` a step toward ``TARGET_SECONDS`` of measured work, and shrinks again when the
end of the input is near.
"""

from __future__ import annotations

TARGET_SECONDS = 0.1  # seconds of work in a chunk; longer ones gain nothing in throughput
SMALLEST_SECONDS = 0.002  # seconds; below it a frame's own cost shows (about 0.1 ms each way)
UNDIVIDED_SECONDS = 0.0005  # seconds; so little work is not shared, even if others are idle
LARGEST_BYTES = 4 << 20  # bytes of items or results in a chunk, unless one item is larger
GROWTH = 8  # at most so many times the largest chunk that came back
LARGEST_ITEMS = 1 << 16  # items; bounds what a lost worker costs when items are tiny


def guided_chunksize(remaining: int, n_workers: int, smallest: int = 1) -> int:
    """Return the size of the next chunk under guided self-scheduling.

    Args:
        remaining: Items not yet handed out.
        n_workers: Workers taking part, idle or busy.
        smallest: Lower bound in items; the last chunk may be smaller.

    Raises:
        ValueError: If an argument is below 1.

    Source: Polychronopoulos & Kuck, IEEE Trans. Computers C-36(12), 1987; their
    ceil(R/P) with 2P for P, since every worker holds two chunks, and with ``smallest``
    added to bound the number of messages.

    >>> guided_chunksize(100, 2), guided_chunksize(3, 2), guided_chunksize(3, 2, smallest=8)
    (25, 1, 3)
    """
    if remaining < 1 or n_workers < 1 or smallest < 1:
        raise ValueError("remaining, n_workers and smallest must be 1 or more")
    return min(remaining, max(smallest, -(-remaining // (2 * n_workers))))


def measured_chunksize(
    remaining: int,
    n_workers: int,
    *,
    largest_returned: int,
    seconds_per_item: float,
    bytes_per_item: float,
    ended: bool = True,
) -> int:
    """Return the size of the next chunk for a job whose items have been timed.

    Args:
        remaining: Items not yet handed out, at least 1.
        n_workers: Workers taking part, idle or busy, at least 1.
        largest_returned: Items in the largest chunk that came back; 0 before the first.
        seconds_per_item: Measured cost; 0 where nothing was measured.
        bytes_per_item: Measured weight, the larger of item and result; 0 if unknown.
        ended: Whether ``remaining`` is all there will be. While more is to come, a
            worker may take its whole share of what lies there.

    >>> measured_chunksize(1000, 2, largest_returned=0, seconds_per_item=0, bytes_per_item=0)
    1
    >>> measured_chunksize(1000, 2, largest_returned=1, seconds_per_item=1e-6, bytes_per_item=0)
    8
    """
    largest = min(max(1, GROWTH * largest_returned), LARGEST_ITEMS)
    smallest = 1
    if seconds_per_item > 0:
        largest = min(largest, max(1, int(TARGET_SECONDS / seconds_per_item)))
        # Near the end a small chunk must still leave something for every other worker,
        # unless it is not worth a frame.
        share = -(-remaining // n_workers)
        smallest = max(1, min(int(SMALLEST_SECONDS / seconds_per_item), share))
        smallest = max(smallest, int(UNDIVIDED_SECONDS / seconds_per_item))
    if bytes_per_item > 0:
        largest = min(largest, max(1, int(LARGEST_BYTES / bytes_per_item)))
    parts = n_workers if ended else max(1, n_workers // 2)
    return min(largest, guided_chunksize(remaining, parts, min(smallest, largest)))
