"""``python -m halfmax`` is the command ``halfmax``."""

import sys

from halfmax.cli import main

if __name__ == "__main__":
    sys.exit(main())
