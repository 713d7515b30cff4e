"""Real work: one row of a picture of the Mandelbrot set, in pure Python.

A point c belongs to the set if z = z * z + c, begun at 0, never leaves the circle of
radius 2. The others are coloured by how soon they leave a bigger one, which makes the
number of steps a smooth value: n + 1 - log2(log |z|).
"""

import math
import os
import socket
import time
from bisect import bisect_right
from typing import NamedTuple

MOST_STEPS = 1500  # points that are inside for so long count as points of the set
ESCAPE = 1e4  # square of the radius of the circle; a big one makes the colours smoother

# Where the colours change, as parts of one turn of the palette: deep blue, sky, white,
# gold, brown, and deep blue again.
STOPS = (0.0, 0.16, 0.42, 0.64, 0.86, 1.0)
COLOURS = ((0, 7, 100), (32, 107, 203), (237, 255, 255), (255, 170, 0), (60, 10, 20), (0, 7, 100))


class View(NamedTuple):
    """What the picture shows.

    Attributes:
        centre: The point in the middle.
        across: The distance from the left edge to the right one.
        width: Pixels in a row.
        height: Rows.
    """

    centre: complex
    across: float
    width: int
    height: int


class Row(NamedTuple):
    """A row of the picture, and what it cost.

    Attributes:
        pixels: Red, green and blue of each pixel, a byte each.
        seconds: Processor time that the row took.
        process: Host and number of the process that computed it.
    """

    pixels: bytes
    seconds: float
    process: str


def mandelbrot_row(view, y):
    """Return row ``y`` of the picture, counted from the top."""
    began = time.thread_time()
    pixel = view.across / view.width
    imag = view.centre.imag + (view.height / 2 - y - 0.5) * pixel
    left = view.centre.real + (0.5 - view.width / 2) * pixel
    pixels = bytearray()
    for x in range(view.width):
        pixels += colour(steps_outward(complex(left + x * pixel, imag)))
    seconds = time.thread_time() - began
    return Row(bytes(pixels), seconds, f"{socket.gethostname()}, process {os.getpid()}")


def steps_outward(c):
    """Return how many steps, not a whole number, c takes to leave; None if it stays.

    >>> steps_outward(0j) is None
    True
    >>> 2 < steps_outward(1 + 0j) < 3
    True
    """
    z = 0j
    for n in range(MOST_STEPS):
        z = z * z + c
        size = z.real * z.real + z.imag * z.imag
        if size > ESCAPE:
            return n + 1 - math.log2(math.log(size) / 2)
    return None


def colour(steps):
    """Return red, green and blue for a number of steps.

    >>> list(colour(None)), list(colour(0.0))
    ([0, 0, 0], [0, 7, 100])
    """
    if steps is None:
        return bytes(3)
    part = math.sqrt(max(steps, 0.0)) * 0.16 % 1.0  # the root: colours change slower further in
    i = bisect_right(STOPS, part) - 1
    share = (part - STOPS[i]) / (STOPS[i + 1] - STOPS[i])
    return bytes(
        round(a + (b - a) * share) for a, b in zip(COLOURS[i], COLOURS[i + 1], strict=True)
    )
