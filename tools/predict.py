"""See ``python tools/predict.py --help``."""

import sys

from pneumodet.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
