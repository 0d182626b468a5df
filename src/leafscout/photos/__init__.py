"""One photo in: decoding, labels, checks, splits, tiles, augmentation, synthetic photos."""
