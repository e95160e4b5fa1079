"""Radiographs to try the page with: drawn by ``data.synthetic``, offline, of nobody.

file, truth_xyxy_px = draw(3)
"""

import functools
import io

import numpy as np

from pneumodet.apps.web.uploads import File
from pneumodet.core import boxes

COUNT = 6
"""Every second one has opacities."""

_SIZE_PX = 1024
_SEED = 7


@functools.lru_cache(maxsize=COUNT)
def draw(number: int) -> tuple[File, np.ndarray]:
    """Return a sample's DICOM file and the boxes of what was drawn into it, (N, 4) xyxy px.

    Args:
      number: 1 to ``COUNT``.
    """
    from pneumodet.data import synthetic  # here: it imports pydicom, for which the first view need not wait

    rng = np.random.default_rng([_SEED, number])
    pixels, boxes_xywh_px = synthetic.draw_radiograph(rng, positive=number % 2 == 1, size=_SIZE_PX)
    buffer = io.BytesIO()  # pydicom writes to a file object as to a path
    synthetic.write_dicom(buffer, pixels, patient_id=f"sample-{number}", rng=rng)
    return File(f"sample-{number}.dcm", buffer.getvalue()), boxes.xywh_to_xyxy_px(boxes_xywh_px)
