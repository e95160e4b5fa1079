"""TensorFlow's noise stays out of the user's terminal; ``--verbose`` brings it all."""

import logging
import os
import warnings


def set_up(*, verbose: bool) -> None:
    """Set the levels of TensorFlow, absl and Python warnings; call it before TensorFlow is imported.

    Errors of TensorFlow and warnings of pneumodet are always shown.
    """
    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger("pneumodet").setLevel(logging.INFO if verbose else logging.WARNING)
    if verbose:
        os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("tensorflow", "absl", "h5py", "apache_beam", "pydicom"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, SyntaxWarning, UserWarning):
        warnings.simplefilter("ignore", category)
