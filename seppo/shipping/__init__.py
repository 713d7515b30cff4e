"""The caller's modules as files under a digest, and as folders on a host."""
