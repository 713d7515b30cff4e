"""Frames and messages: bytes between machines, and between a host and its worker processes."""
