"""See ``python tools/train_classifier.py --help``."""

import sys

from pneumodet.cli.train_classifier import main

if __name__ == "__main__":
    sys.exit(main())
