"""The supervisor of a host: it keeps worker processes ready and leases them to clients."""
