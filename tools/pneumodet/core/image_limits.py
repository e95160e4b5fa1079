"""How large an image may be, whatever file it comes in, and which pixels count as square."""

from pneumodet.core.errors import DataError

MAX_SIDE_PX = 16_384
"""A larger Rows or Columns is refused: the largest detectors have some 5,000 pixels along an edge, stitched images three times as many."""

MAX_PIXELS = 80_000_000
"""An image of more pixels is refused before anything is allocated; Pillow's own warning comes at 89 million."""

SQUARE_TOLERANCE = 0.01
"""Pixels whose sides differ by a smaller share count as square: 0.143 x 0.1434 mm is one spacing, rounded twice."""

MAX_ASPECT = 8.0
"""Pixels longer than this many times their width are a mistake of the header."""


def check_size(source: object, height: int, width: int) -> None:
    """Refuse an image that is empty or too large to be a radiograph.

    Raises:
      DataError: it is.
    """
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise DataError(f"{source} says that its image has {height} rows and {width} columns; 1 to {MAX_SIDE_PX} are allowed.")
    if height * width > MAX_PIXELS:
        raise DataError(f"{source} says that its image has {width} x {height} px; {MAX_PIXELS} in all are allowed.")
