"""See ``python tools/make_tfrecords.py --help``."""

import sys

from pneumodet.cli.make_tfrecords import main

if __name__ == "__main__":
    sys.exit(main())
