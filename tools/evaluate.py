"""See ``python tools/evaluate.py --help``."""

import sys

from pneumodet.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
