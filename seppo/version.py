"""The version of seppo, and that of what its processes say to each other."""

__version__ = "1.0.dev0"

PROTOCOL_VERSION = 4  # raised with every change of the messages: both sides must have the same
