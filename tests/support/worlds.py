"""A child process as a world: what a channel does there, one call at a time."""

import os
import pickle
import subprocess
import sys

from seppo.values.function import pack_function

CHILD = """
import os, pickle, sys, traceback
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
from seppo.wire.messages import Function
from seppo.values.outcome import Failure
from seppo.wire.packed import Packed
from seppo.worker.functions import Known
from seppo.worker.world import World

world = None
known = {}

def begin(name, largest, caller, domain):
    global world
    world = World(name, largest)
    world.settle(caller, domain)

def call(digest, data, manifest, contents, items):
    function = known.setdefault(digest, Known(Function(digest, Packed(data), manifest)))
    asked = [digest.hex() for digest in world.missing(function)]
    for each in asked:
        world.add(bytes.fromhex(each), contents[each])
    world.enter(function)
    func = world.load(function)
    if isinstance(func, Failure):
        return func, asked
    return [func(item) for item in items], asked

def fits(digest, data, manifest):
    return world.fits(known.get(digest) or Known(Function(digest, Packed(data), manifest)))

def run(source):
    space = globals()
    exec(source, space)
    return space.get("result")

def finish():
    world.finish()

def left_behind():
    return world.left_behind()

def close():
    world.close()

while True:
    try:
        name, arguments = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        answer = True, globals()[name](*arguments)
    except BaseException as error:
        answer = False, traceback.format_exc()
    answers.write(pickle.dumps(answer))
    answers.flush()
"""


class OtherWorld:
    """A process that knows nothing of ours but seppo, with a cache folder of the test's.

    Attributes:
        asked: Digests of the files that the last call asked for.
    """

    def __init__(self, cache, cwd, begin=True, largest=None, before="", caller=None, domain=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        env.update(XDG_CACHE_HOME=str(cache), PYTHONPATH="")
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            cwd=cwd,
        )
        self.pid = self._process.pid
        self.asked = []
        if before:
            self.run(before)
        if begin:
            self._ask("begin", "test", largest, caller, domain)

    def _ask(self, name, *arguments):
        self._process.stdin.write(pickle.dumps((name, arguments)))
        self._process.stdin.flush()
        is_well, answer = pickle.load(self._process.stdout)
        if not is_well:
            raise RuntimeError(answer)
        return answer

    def map(self, func, items, setup=None):
        """Return what the world's process has for each item; or the ``Failure`` of all."""
        function = pack_function(func, setup)
        bundle = function.bundle
        contents = {digest: bundle.read(digest) for digest in bundle.manifest.sizes}
        results, self.asked = self._ask(
            "call", function.digest, function.packed.data, function.manifest, contents, list(items)
        )
        return results

    def call(self, func, item=None, setup=None):
        """Return what the world's process has for one item."""
        results = self.map(func, [item], setup)
        return results[0] if isinstance(results, list) else results

    def fits(self, func):
        """Whether a function can run there at all."""
        function = pack_function(func)
        return self._ask("fits", function.digest, function.packed.data, function.manifest)

    def run(self, source):
        """Run source there, and return its ``result``."""
        return self._ask("run", source)

    def finish(self):
        """Have the world call its finalizers."""
        self._ask("finish")

    def left_behind(self):
        """Return the names of files that would be lost."""
        return self._ask("left_behind")

    def close(self):
        """Have the world remove its own files."""
        return self._ask("close")

    def end(self):
        """End the process; return its exit code."""
        self._process.stdin.close()
        code = self._process.wait(30)
        self._process.stdout.close()
        return code

    def kill(self):
        """Kill the process."""
        self._process.kill()
        self.end()
