"""See ``python tools/pacs_worker.py --help``."""

import sys

from pneumodet.cli.pacs_worker import main

if __name__ == "__main__":
    sys.exit(main())
