"""Where chunks run: each engine turns commands into events."""
