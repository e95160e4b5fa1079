"""What feeds a model: decoding, augmentation, batches."""
