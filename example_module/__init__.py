"""User code as users write it: the functions that the example scripts map."""

from example_module.hello import hello_world

__all__ = ["hello_world"]
