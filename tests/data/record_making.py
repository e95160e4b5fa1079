"""What the tests of conversion share."""

import dataclasses

from pneumodet.data import conversion, tf_example, tfrecord


def convert(source, folder, **arguments):
    """Convert a synthetic data set with flat arguments, whichever of Inputs, Settings and convert they are for."""
    parts = {}
    for kind in (conversion.Inputs, conversion.Settings):
        names = {field.name for field in dataclasses.fields(kind)}
        parts[kind] = {name: arguments.pop(name) for name in list(arguments) if name in names}
    inputs = conversion.Inputs(**{"dicom_dir": source.dicom_dir, "labels": source.labels} | parts[conversion.Inputs])
    return conversion.convert(inputs, folder, conversion.Settings(**parts[conversion.Settings]), **arguments)


def records(folder, side=None):
    """Return the records of a set, or of one split."""
    return [tf_example.decode(data) for path in sorted(folder.glob(f"{side or ''}*.tfrecord")) for data in tfrecord.read_records(path)]
