"""From the caller's modules to files under a digest, and to folders on a host."""
