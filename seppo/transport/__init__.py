"""Everything that knows Pyro5 and sockets, so that it can be replaced."""
