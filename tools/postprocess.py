"""See ``python tools/postprocess.py --help``."""

import sys

from pneumodet.cli.postprocess import main

if __name__ == "__main__":
    sys.exit(main())
