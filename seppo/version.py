"""The version of seppo, and the version of the protocol between its processes."""

__version__ = "1.0.dev0"

PROTOCOL_VERSION = 4  # raised with every change of the messages: both sides must have the same
