"""The script that has another machine join: what its answer proves."""

from __future__ import annotations

import os
import subprocess

import pytest

from seppo.errors import SecurityError
from seppo.settings import Settings
from seppo.trust.certificates import make_bundle, revoke
from seppo.trust.joinfile import collect
from seppo.trust.joinscript import JoinScript
from seppo.trust.keyfile import read_key


@pytest.fixture
def answered(tmp_path):
    """A script, what it has printed, and the key that it has put there."""
    key = tmp_path / "first" / "key"
    make_bundle(key)
    revoke(key.parent, "ABCDEF0123")
    script = JoinScript(collect(Settings(), key))
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["sh"], input=script.text, env=environ, check=True, capture_output=True, text=True
    )
    return script, done.stdout, read_key(key)


def test_the_answer_tells_the_key_whatever_a_login_shell_has_said(answered):
    script, output, key = answered
    assert script.check(output).fingerprint == key.fingerprint
    assert script.check(f"Welcome\n{output}Bye\n").fingerprint == key.fingerprint


@pytest.mark.parametrize("flaw", ["another key", "another certificate", "no list", "cut off"])
def test_an_answer_that_is_not_what_was_sent_is_refused(answered, flaw):
    script, output, key = answered
    secret = key.reveal().hex()
    changed = {
        "another key": output.replace(secret, secret[::-1]),
        "another certificate": output.replace("BEGIN CERT", "begin cert", 1),
        "no list": output.replace("ABCDEF0123", "ABCDEF0124"),
        "cut off": output[:-40],
    }[flaw]
    assert changed != output
    with pytest.raises(SecurityError, match="not what was sent"):
        script.check(changed)
