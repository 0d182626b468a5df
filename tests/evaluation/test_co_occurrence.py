"""Labels that come together, by hand and against a product of matrices."""

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.evaluation.co_occurrence import count_together


def test_pairs_are_counted() -> None:
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    found = count_together(truth, ["a", "b", "c"])
    assert found.photos.tolist() == [[3, 2, 1], [2, 2, 1], [1, 1, 1]]
    assert found.alone.tolist() == [1, 0, 0]
    assert found.none == 1


def test_a_column_a_label() -> None:
    with pytest.raises(InputError, match="each of the 2 labels"):
        count_together(np.zeros((3, 3)), ["a", "b"])
