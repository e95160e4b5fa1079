"""Networks and their configs: detectors, classifiers, U-Nets, and what feeds them."""
