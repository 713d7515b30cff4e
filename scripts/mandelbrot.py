"""A picture of the Mandelbrot set, row by row, wherever workers are.

    seppo run scripts/mandelbrot.py picture.png
    python scripts/mandelbrot.py picture.png            # with workers that run already

Rows come back in order, one by one, so they are packed into the file while others are
still being computed.
"""

import argparse
import functools
import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where example_module lies

import seppo
from example_module.mandelbrot import View, mandelbrot_row

CENTRE = -0.7435669 + 0.1314023j  # the tail of a sea horse
ACROSS = 3.0  # width of what is seen at zoom 1: the whole set


def main():
    """Make the picture that the command line asks for."""
    args = parse_arguments()
    view = View(args.centre, ACROSS / args.zoom, *args.size)
    began = time.perf_counter()
    rows = seppo.map_parallel(
        functools.partial(mandelbrot_row, view),
        range(view.height),
        progress=None if args.quiet else "rows",
    )
    seconds = 0.0
    processes = set()

    def pixels():
        nonlocal seconds
        for row in rows:
            seconds += row.seconds
            processes.add(row.process)
            yield row.pixels

    write_png(args.file, view.width, view.height, pixels())
    took = time.perf_counter() - began
    print(f"{args.file}: {view.width} x {view.height} pixels in {took:.1f} s, computed by")
    for process in sorted(processes):
        print(f"    {process}")
    print(f"One process alone: about {seconds:.1f} s, {seconds / took:.1f} times as long.")


def parse_arguments():
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("file", help="the PNG file to write")
    parser.add_argument("--size", type=size, default="720x450", metavar="WxH", help="in pixels")
    parser.add_argument("--zoom", type=float, default=1300.0, help="1 shows the whole set")
    parser.add_argument("--centre", type=complex, default=CENTRE, help="the point in the middle")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    return parser.parse_args()


def size(text):
    """Return width and height from a text such as ``720x450``."""
    width, height = map(int, text.lower().split("x"))
    if width < 1 or height < 1:
        raise ValueError(text)
    return width, height


def write_png(path, width, height, rows):
    """Write a picture of 8-bit red, green and blue; ``rows`` yields the bytes of each row.

    Source: Portable Network Graphics (PNG) Specification, W3C Recommendation.
    """
    packer = zlib.compressobj(9)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        for row in rows:
            write_chunk(file, b"IDAT", packer.compress(b"\0" + row))  # 0: the row is not filtered
        write_chunk(file, b"IDAT", packer.flush())
        write_chunk(file, b"IEND", b"")


def write_chunk(file, kind, data):
    """Write one chunk of a PNG file: length, kind, data and check sum."""
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data)
        file.write(struct.pack(">I", zlib.crc32(kind + data)))


if __name__ == "__main__":
    main()
