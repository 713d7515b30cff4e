"""Where am I? A function whose result tells which process computed it."""

import os
import socket
import time

MOMENT = 0.1  # seconds; what takes no time at all is done before a second process is there


def hello_world(value):
    """Return a line that names host, process, input and its square."""
    time.sleep(MOMENT)
    value2 = value * value
    host = f"{socket.getfqdn()}, process {os.getpid()}"
    return f"hello world from {host} (input={value:f}, value*value={value2:f})"
