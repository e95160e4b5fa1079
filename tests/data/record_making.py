"""What the tests of conversion share."""

import dataclasses

from pneumodet.data import conversion, tf_example, tfrecord
from pneumodet.data.settings import Inputs, Settings


def convert(source, folder, **arguments):
    """Convert a synthetic data set with flat arguments, whichever of Inputs, Settings and convert they are for; return what manifest.json holds.

    There is no test split unless ``test_fraction`` asks for one.
    """
    parts, arguments = {}, {"test_fraction": 0.0} | arguments
    for kind in (Inputs, Settings):
        names = {field.name for field in dataclasses.fields(kind)}
        parts[kind] = {name: arguments.pop(name) for name in list(arguments) if name in names}
    inputs = Inputs(**{"dicom_dir": source.dicom_dir, "labels": source.labels} | parts[Inputs])
    return conversion.convert(inputs, folder, Settings(**parts[Settings]), **arguments).to_json()


def records(folder, split=None):
    """Return the records of a set, or of one split."""
    return [tf_example.decode(data) for path in sorted(folder.glob(f"{split or ''}*.tfrecord")) for data in tfrecord.read_records(path)]
