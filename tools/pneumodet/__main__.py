"""``python -m pneumodet COMMAND …``: the same as ``pneumodet COMMAND …``, for where pip's scripts are not on the path."""

import sys

from pneumodet.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
