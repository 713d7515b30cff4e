"""Engines: they carry out the scheduler's commands, and report events."""
