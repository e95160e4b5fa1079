"""See ``python tools/doctor.py --help``."""

import sys

from pneumodet.cli.doctor import main

if __name__ == "__main__":
    sys.exit(main())
