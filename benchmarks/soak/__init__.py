"""A long run of maps while workers are killed, frozen, added and taken away.

Nothing is measured but growth: after it, every result must have been right, and neither
side may hold more memory, threads, descriptors or shared memory than at its beginning.
"""
