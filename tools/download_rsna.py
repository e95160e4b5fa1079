"""See ``python tools/download_rsna.py --help``."""

import sys

from pneumodet.cli.download_rsna import main

if __name__ == "__main__":
    sys.exit(main())
