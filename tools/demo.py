"""See ``python tools/demo.py --help``."""

import sys

from pneumodet.cli.demo import main

if __name__ == "__main__":
    sys.exit(main())
