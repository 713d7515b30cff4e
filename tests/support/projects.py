"""Projects of the caller's own modules, written on the spot."""

import importlib
import sys
import textwrap


class Project:
    """A folder of the caller's own modules, written on the spot."""

    def __init__(self, folder, cluster):
        self.folder = folder
        self.cluster = cluster

    def write(self, path, text):
        """Write a file, and return its path."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def script(self, text, *arguments, name="script.py", **keywords):
        """Run a script of this project as a client, and return what it prints."""
        script = self.write(name, text)
        return self.cluster.run(script, *arguments, cwd=self.folder, **keywords).stdout

    def load(self, name):
        """Import a module of this project into this process, anew."""
        for known in [m for m in sys.modules if m.partition(".")[0] == name.partition(".")[0]]:
            del sys.modules[known]
        importlib.invalidate_caches()
        return importlib.import_module(name)
