"""See ``python tools/train_segmenter.py --help``."""

import sys

from pneumodet.cli.train_segmenter import main

if __name__ == "__main__":
    sys.exit(main())
