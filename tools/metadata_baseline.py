"""See ``python tools/metadata_baseline.py --help``."""

import sys

from pneumodet.cli.metadata_baseline import main

if __name__ == "__main__":
    sys.exit(main())
