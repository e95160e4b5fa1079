"""See ``python tools/grad_cam.py --help``."""

import sys

from pneumodet.cli.grad_cam import main

if __name__ == "__main__":
    sys.exit(main())
