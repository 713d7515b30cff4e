"""The part that decides and never does: no sockets, threads, clocks or pickles."""
