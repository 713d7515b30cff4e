"""User objects to bytes and back; no sockets."""
