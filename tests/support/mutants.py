"""Schedulers with a mistake planted in one of their parts."""

from seppo.core.scheduler import Scheduler


def with_part(name, kind):
    """Return a scheduler in which one part has the mistakes of ``kind``."""

    class Mutant(Scheduler):
        def __init__(self, grace=20.0):
            super().__init__(grace)
            part = getattr(self, name)
            part.__class__ = kind

    Mutant.__name__ = kind.__name__
    return Mutant
