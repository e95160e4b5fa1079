"""The one conversion of colours that the API takes from tensorflow_io, of which no release fits today's TensorFlow."""

from typing import Any

_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""Linear red, green and blue -> X, Y, Z (ITU-R BT.709 primaries)."""

_WHITE = (0.95047, 1.0, 1.08883)
"""X, Y, Z of the white point D65 for the observer of 2 degrees."""


def rgb_to_lab(image: Any) -> Any:
    """Return CIE L*a*b* of an sRGB image, as ``tensorflow_io.experimental.color.rgb_to_lab`` does by default: IEC 61966-2-1, CIE 15.

    Args:
      image: (..., 3) floats, 0 to 1.

    Returns:
      (..., 3) floats of the same dtype: L* from 0 to 100, a* and b* about 0.
    """
    import tensorflow as tf

    rgb = tf.convert_to_tensor(image)
    linear = tf.where(rgb > 0.04045, ((tf.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    share = tf.linalg.matvec(tf.constant(_XYZ, rgb.dtype), linear) / tf.constant(_WHITE, rgb.dtype)
    # the straight line below 0.008856 keeps the slope of the cube root finite
    x, y, z = tf.unstack(tf.where(share > 0.008856, tf.maximum(share, 0) ** (1 / 3), 7.787 * share + 16 / 116), axis=-1)
    return tf.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
