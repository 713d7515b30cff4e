"""Two network namespaces, as if they were two machines, joined by one cable.

Everything is made under names of its own and taken away by these names.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import Any


class NotPermitted(Exception):
    """This machine or user cannot make network namespaces."""


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)
    except FileNotFoundError as error:
        raise NotPermitted("there is no command 'ip'") from error
    except subprocess.CalledProcessError as error:
        raise NotPermitted(f"ip {' '.join(words)}: {error.stderr.strip()}") from error


class TwoHosts:
    """Two namespaces with addresses that only they reach.

    Attributes:
        names: The namespaces.
        addresses: Their addresses.

    Raises:
        NotPermitted: If they cannot be made here.
    """

    def __init__(self) -> None:
        tag = uuid.uuid4().hex[:6]
        self.names = (f"seppo-a{tag}", f"seppo-b{tag}")
        self.addresses = ("10.213.0.1", "10.213.0.2")
        self._made: list[str] = []
        links = (f"sp{tag}a", f"sp{tag}b")
        try:
            for name in self.names:
                _ip("netns", "add", name)
                self._made.append(name)
            _ip("link", "add", links[0], "netns", self.names[0], "type", "veth",
                "peer", "name", links[1], "netns", self.names[1])  # fmt: skip
            for name, link, address in zip(self.names, links, self.addresses, strict=True):
                _ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
                _ip("-n", name, "link", "set", link, "up")
                _ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def command(self, host: int, *words: str) -> list[str]:
        """Return the command line of a Python command on one of the two."""
        return ["ip", "netns", "exec", self.names[host], sys.executable, *words]

    def close(self) -> None:
        """Take them away; their cable goes with them."""
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
