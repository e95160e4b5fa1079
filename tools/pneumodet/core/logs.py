"""TensorFlow's noise stays out of the user's terminal; ``--verbose`` brings it all."""

import logging
import os
import sys
import warnings

from absl import logging as absl_logging


def set_up(*, verbose: bool) -> None:
    """Set the levels of TensorFlow, absl and Python warnings; call it before TensorFlow is imported.

    Errors that Python raises are always shown, and so are warnings of pneumodet's own loggers.
    """
    own = logging.getLogger("pneumodet")
    own.setLevel(logging.INFO if verbose else logging.WARNING)
    if verbose:
        os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        return
    # 3 also hides "failed call to cuInit", which TensorFlow calls an error on every machine without a GPU; the device is reported by train
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not own.handlers:
        own.addHandler(logging.StreamHandler(sys.stderr))
        own.propagate = False
    absl_logging.get_absl_handler().setLevel(logging.ERROR)  # the handler: libraries reset the loggers' levels while they are imported
    logging.getLogger("tensorflow").addFilter(lambda record: record.levelno >= logging.ERROR)
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, SyntaxWarning, UserWarning):
        warnings.simplefilter("ignore", category)
