"""README's examples do what it says: Python blocks are run, console blocks looked up.

A comment ``# -> text`` in a Python block tells a line that it prints; in their order they
are all that it prints.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
README = (TOP / "README.rst").read_text(encoding="utf-8")
PATIENCE = 60.0  # seconds for one example


def blocks(language):
    """Return the code blocks of a language, each with the number of its first line."""
    lines = README.splitlines()
    found = []
    for start, line in enumerate(lines):
        if line != f".. code-block:: {language}":
            continue
        block = []
        for text in lines[start + 1 :]:
            if text and not text.startswith(" "):
                break
            block.append(text)
        found.append((start + 3, textwrap.dedent("\n".join(block)).strip() + "\n"))
    return found


def parameters(examples):
    return [pytest.param(code, id=f"line{line}") for line, code in examples]


PYTHON = blocks("python")
COMPLETE = [(n, code) for n, code in PYTHON if "start_seppo_enslaved_server" not in code]
SERIAL = [(n, code) for n, code in COMPLETE if "seppo.Executor" not in code]
COMMANDS = [
    (line, command.removeprefix("$ "))
    for line, block in blocks("console")
    for command in block.splitlines()
]


def promised_output(code):
    return re.findall(r"# -> (.*)", code)


def environment(port):
    """Return an environment in which the name server is looked for at a port of ours."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))},
        "PYRO_NS_HOST": "127.0.0.1",
        "PYRO_NS_PORT": str(port),
    }


@pytest.fixture
def example(tmp_path):
    """Return a function that writes an example's code to a script."""

    def write(code):
        script = tmp_path / "example.py"
        script.write_text(code, encoding="utf-8")
        return str(script)

    return write


@pytest.fixture
def deaf_port():
    """Return a port that nobody listens on as long as the test runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # without listen(), connections are refused
        yield sock.getsockname()[1]


def run(command, port):
    return subprocess.run(
        command, env=environment(port), capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize("code", parameters(PYTHON))
def test_example_is_python(code):
    compile(code, "README.rst", "exec")


@pytest.mark.parametrize("code", parameters(SERIAL))
def test_example_prints_what_it_says_without_workers(code, example, deaf_port):
    done = run([sys.executable, example(code)], deaf_port)
    assert done.stdout.splitlines() == promised_output(code), done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", parameters(COMPLETE))
def test_example_prints_what_it_says_with_workers(code, example, deaf_port):
    done = run([sys.executable, "-m", "seppo", "run", "-n", "2", example(code)], deaf_port)
    assert done.stdout.splitlines() == promised_output(code), done.stderr
    assert done.returncode == 0, done.stderr
    assert "in this process alone" not in done.stderr


def test_examples_are_found():
    assert len(SERIAL) >= 3
    assert len(COMPLETE) > len(SERIAL)
    assert all(promised_output(code) for _, code in COMPLETE)


@pytest.mark.parametrize(("line", "command"), COMMANDS, ids=[f"line{n}-{c}" for n, c in COMMANDS])
def test_command_exists(line, command):
    program, *arguments = shlex.split(command)
    if program.startswith("./"):
        assert os.access(TOP / program, os.X_OK)
    elif program == "seppo":
        verb, *options = arguments
        words = [verb, options[0]] if verb == "keys" else [verb]
        help_text = run([sys.executable, "-m", "seppo", *words, "--help"], 9).stdout
        assert help_text.startswith(f"usage: seppo {verb}")
        for option in options:
            if not option.startswith("-") or option == "--with":  # --with is the script's
                continue
            assert option in help_text
    elif program != "export":
        assert shutil.which(program) or program == "python"


def test_commands_of_text_exist():
    """What the text between the blocks names in passing exists, too."""
    for option in ("--json", "--group"):
        verb = "status" if option == "--json" else "worker"
        assert option in run([sys.executable, "-m", "seppo", verb, "--help"], 9).stdout
    for path in re.findall(r"``((?:scripts|example_module)/[\w./]+)``", README):
        assert (TOP / path).exists()


def test_settings_are_those_of_the_code():
    code = (TOP / "seppo" / "settings.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"((?:PYRO|SEPPO)_[A-Z_]+)"', code))
    table = README[README.index("\nSettings\n") : README.index("\nExamples\n")]
    assert set(re.findall(r"``((?:PYRO|SEPPO)_[A-Z_]+)``", table)) == names


def test_title_is_underlined_to_its_length():
    over, title, under = README.splitlines()[:3]
    assert title == "seppo - simple embarrassingly parallel python"
    assert over == under == "=" * len(title)
