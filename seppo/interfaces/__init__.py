"""The public interfaces: each one only translates calls to jobs of the same driver."""
