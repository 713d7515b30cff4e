"""The soak run, for a few seconds: maps are right, and nothing grows, while workers die."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak.watch import Holdings

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the kernel's books")
def test_a_short_soak_run_finds_nothing_wrong():
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.2"],
        cwd=ROOT,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            output, _ = process.communicate(timeout=50)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it ends what it has started
            output, _ = process.communicate(timeout=50)
    assert process.returncode == 0, output
    assert "all results right, nothing grew" in output


def test_growth_is_what_exceeds_chance_and_what_is_usual():
    before = Holdings(60.0, 5, 13)
    assert Holdings(105.0, 14, 30).growth_since(before) == []
    assert len(Holdings(115.0, 16, 34).growth_since(before)) == 3
    assert Holdings(115.0, 5, 13).growth_since(before, usual=200.0) == []
    assert len(Holdings(201.0, 5, 13).growth_since(before, usual=200.0)) == 1


def test_a_short_fuzz_finds_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak.fuzz", "--minutes", "0.03"],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout
