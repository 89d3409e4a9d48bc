"""Structures as numbers."""

import numpy as np

from halfmax.features.drugs import descriptors, fingerprints


def test_missing_structures_are_masked():
    block = fingerprints(["CCO", None])
    assert block.mask.all(axis=1).tolist() == [False, True]
    assert not block.values[1].any()
    assert np.isnan(descriptors(["CCO", None]).values[1]).all()
