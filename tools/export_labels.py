"""See ``python tools/export_labels.py --help``."""

import sys

from pneumodet.cli.export_labels import main

if __name__ == "__main__":
    sys.exit(main())
