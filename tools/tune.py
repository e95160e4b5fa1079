"""See ``python tools/tune.py --help``."""

import sys

from pneumodet.cli.tune import main

if __name__ == "__main__":
    sys.exit(main())
