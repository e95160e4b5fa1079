"""See ``python tools/train.py --help``."""

import sys

from pneumodet.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
