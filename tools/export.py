"""See ``python tools/export.py --help``."""

import sys

from pneumodet.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
