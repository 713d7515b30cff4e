"""Everything that knows Pyro5, so that it can be replaced."""
