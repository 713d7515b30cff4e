"""What both sides of a connection, or a host and its worker processes, have in common."""
