"""The doors: each one only translates; all stand on the same driver."""
