"""See ``python tools/compare.py --help``."""

import sys

from pneumodet.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
