"""Scheduling without input and output: decisions alone, no sockets, threads, clocks or pickles."""
