"""See ``python tools/explore.py --help``."""

import sys

from pneumodet.cli.explore import main

if __name__ == "__main__":
    sys.exit(main())
