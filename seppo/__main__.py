"""``python -m seppo``: the same as the command ``seppo``."""

import sys

from seppo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
