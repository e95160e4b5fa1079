"""See ``python tools/setup_api.py --help``."""

import sys

from pneumodet.cli.setup_api import main

if __name__ == "__main__":
    sys.exit(main())
