"""See ``python tools/app.py --help``."""

import sys

from pneumodet.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
