"""The kinds of models that are trained: detectors, classifiers, U-Nets."""
