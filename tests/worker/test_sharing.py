"""One copy for all workers of a host, and nothing left behind."""

import json
import os
import subprocess
import sys

import pytest

from seppo.worker.sharing import SharedBlock, open_shared, sharing_domain

pytestmark = pytest.mark.skipif(sharing_domain() is None, reason="needs Linux's memfd")


def filled(*contents):
    block = SharedBlock([len(content) for content in contents])
    for part, content in zip(block.parts, contents, strict=True):
        part[:] = content
    return block


def test_parts_are_what_was_written():
    block = filled(b"digest", b"", b"x" * 100_000)
    assert [bytes(part) for part in open_shared(block.location)] == [
        b"digest",
        b"",
        b"x" * 100_000,
    ]


def test_another_process_can_map_it():
    block = filled(b"hello", b"world")
    code = (
        "import sys; from seppo.worker.sharing import open_shared\n"
        "print(b' '.join(map(bytes, open_shared(sys.argv[1]))).decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, block.location], capture_output=True, text=True, check=True
    )
    assert done.stdout == "hello world\n"


def test_what_one_writes_nobody_else_sees():
    block = filled(b"original")
    mine, other = block.private_parts()[0], open_shared(block.location)[0]
    mine[:] = b"mine now"
    assert bytes(other) == b"original"
    other[:] = b"changed!"
    assert bytes(mine) == b"mine now"
    assert bytes(open_shared(block.location)[0]) == b"original"


def test_mapped_parts_outlive_the_block():
    block = filled(b"still here")
    (part,) = open_shared(block.location)
    location = block.location
    del block
    assert bytes(part) == b"still here"
    with pytest.raises((OSError, ValueError)):
        open_shared(location)


def test_something_else_at_the_place_is_refused():
    block = filled(b"x")
    told = json.loads(block.location)
    with pytest.raises(ValueError, match="smaller"):
        open_shared(json.dumps({**told, "sizes": [10_000_000]}))


def test_descriptors_are_given_back():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        block = filled(b"x" * 1000)
        open_shared(block.location)
        del block
    assert len(os.listdir("/proc/self/fd")) == before
