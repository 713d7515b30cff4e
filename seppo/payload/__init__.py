"""User objects to bytes and back, and the running of one chunk; no sockets."""
