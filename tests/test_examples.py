"""The example programs, run as README says: processes that find each other on their own."""

import contextlib
import doctest
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

import example_module.mandelbrot

TOP = Path(__file__).parents[1]
PATIENCE = 30.0  # seconds for anything that a process should do
SIZE = "24x16"


def environment(port):
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))},
        "PYRO_NS_HOST": "127.0.0.1",
        "PYRO_NS_PORT": str(port),
    }


@contextlib.contextmanager
def running(*command, port):
    """Run a process as long as the block lasts; its output comes through a pipe."""
    process = subprocess.Popen(
        command,
        env=environment(port),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def wait_for_line(process, pattern):
    """Wait until the process has written something that fits."""
    deadline = time.monotonic() + PATIENCE
    written = b""
    while not re.search(pattern, written):
        left = deadline - time.monotonic()
        ready, _, _ = select.select([process.stdout], [], [], max(left, 0))
        data = os.read(process.stdout.fileno(), 65536) if ready else b""
        written += data
        assert data, f"the process did not write {pattern!r} but:\n{written.decode()}"


def free_port():
    """Return a port that was free just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def run(*command, port):
    """Return what a program that ends by itself and well has written."""
    done = subprocess.run(
        command, env=environment(port), capture_output=True, text=True, timeout=2 * PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def deaf_port():
    """Return a port that nobody listens on as long as the test runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # without listen(), connections are refused
        yield sock.getsockname()[1]


@pytest.fixture(scope="module")
def two_servers():
    """Return the port of a real name server at which two real servers are registered."""
    port = free_port()
    pyro5_ns = Path(sys.executable).with_name("pyro5-ns")
    command = str(pyro5_ns) if pyro5_ns.exists() else shutil.which("pyro5-ns")
    assert command, "Pyro5 brings the program pyro5-ns"
    server = [sys.executable, TOP / "scripts" / "serv_a_process.py"]
    with contextlib.ExitStack() as stack:
        nameserver = stack.enter_context(
            running(command, "-n", "127.0.0.1", "-p", str(port), port=port)
        )
        wait_for_line(nameserver, rb"NS running on")
        for _ in range(2):
            process = stack.enter_context(running(*server, port=port))
            wait_for_line(process, rb"registered")
        yield port


def test_simple_prints_the_five_lines_in_order(two_servers):
    done = run(sys.executable, TOP / "scripts" / "simple.py", port=two_servers)
    lines = done.stdout.splitlines()
    found = [
        re.fullmatch(r"hello world from (\S+), process (\d+) (\(input=.*\))", line)
        for line in lines
    ]
    assert all(found), done.stdout
    assert [match[3] for match in found] == [
        "(input=1.000000, value*value=1.000000)",
        "(input=2.000000, value*value=4.000000)",
        "(input=3.000000, value*value=9.000000)",
        "(input=4.000000, value*value=16.000000)",
        "(input=5.000000, value*value=25.000000)",
    ]
    assert len({match[2] for match in found}) == 2
    assert done.stderr == ""


def test_mandelbrot_is_the_same_picture_with_and_without_workers(two_servers, deaf_port, tmp_path):
    script = TOP / "scripts" / "mandelbrot.py"
    options = ["--quiet", "--size", SIZE]
    alone, together = tmp_path / "alone.png", tmp_path / "together.png"
    run(sys.executable, script, alone, *options, port=deaf_port)
    done = run(sys.executable, script, together, *options, port=two_servers)
    assert "process" in done.stdout
    assert done.stderr == ""
    assert together.read_bytes() == alone.read_bytes()
    pixels = picture(together.read_bytes())
    assert len(set(pixels)) > 50  # colours, not one grey plane


def test_mandelbrot_shows_progress(two_servers, tmp_path):
    file = tmp_path / "picture.png"
    script = TOP / "scripts" / "mandelbrot.py"
    done = run(sys.executable, script, file, "--size", SIZE, port=two_servers)
    assert "16/16" in done.stderr


def test_examples_run_with_seppo_run(deaf_port, tmp_path):
    command = [sys.executable, "-m", "seppo", "run", "-n", "2"]
    done = run(*command, TOP / "scripts" / "simple.py", port=deaf_port)
    assert len(set(re.findall(r"process (\d+)", done.stdout))) == 2
    file = tmp_path / "picture.png"
    script = TOP / "scripts" / "mandelbrot.py"
    run(*command, script, file, "--quiet", "--size", SIZE, port=deaf_port)
    assert picture(file.read_bytes())


def test_examples_of_the_example_module():
    result = doctest.testmod(example_module.mandelbrot)
    assert result.attempted > 0
    assert result.failed == 0


def picture(data):
    """Return the pixels of a PNG file as triples, after checking the file."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks = []
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        content = data[position + 8 : position + 8 + length]
        (check,) = struct.unpack_from(">I", data, position + 8 + length)
        assert check == zlib.crc32(kind + content)
        chunks.append((kind, content))
        position += 12 + length
    assert [kind for kind, _ in chunks][:1] == [b"IHDR"]
    assert chunks[-1] == (b"IEND", b"")
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert f"{width}x{height}" == SIZE
    assert rest == [8, 2, 0, 0, 0]
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    raw = zlib.decompress(packed)
    assert len(raw) == height * (1 + 3 * width)
    rows = [raw[i + 1 : i + 1 + 3 * width] for i in range(0, len(raw), 1 + 3 * width)]
    return [row[i : i + 3] for row in rows for i in range(0, 3 * width, 3)]


def test_the_demo_shows_two_processes_in_order():
    top = Path(__file__).parents[1]
    if Path(sys.prefix) != top / ".venv":
        pytest.skip("the demo uses the .venv that ./scripts/test makes")
    done = subprocess.run(
        ["./scripts/demo"], cwd=top, capture_output=True, text=True, timeout=100, check=True
    )
    lines = re.findall(r"process (\d+) \(input=(\d)", done.stdout)
    assert [number for _, number in lines] == ["1", "2", "3", "4", "5"]
    assert len({pid for pid, _ in lines}) == 2
    assert (top / "mandelbrot.png").read_bytes().startswith(b"\x89PNG")
