"""One worker process: it serves one client, and runs the items of its chunks."""
