import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.layers import Patches, SinePositions


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_patches_are_the_squares_row_by_row():
    x = images(2, 6, 9, 2)
    patches = np.array(Patches(3)(x))
    assert patches.shape == (2, 6, 18)
    for row in range(2):
        for column in range(3):
            square = x[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            np.testing.assert_array_equal(patches[:, 3 * row + column], square.reshape(2, -1))
    np.testing.assert_array_equal(Patches(3).join(patches, 6, 9), x)


def test_positions_differ_and_say_row_and_column():
    added = np.array(SinePositions(2, 3)(np.zeros((1, 6, 8), "float32")))[0]
    assert len(np.unique(added.round(4), axis=0)) == 6
    rows, columns = added[:, :4], added[:, 4:]
    np.testing.assert_allclose(rows[:3], rows[[0, 0, 0]])  # the first row of the grid
    np.testing.assert_allclose(columns[0], columns[3])  # the first column
    # The frequencies of 8 numbers for 2 axes are 1 and 1 / 100.
    np.testing.assert_allclose(columns[1], [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)], rtol=1e-5)


def test_contract():
    kt.testing.check_layer(Patches(2), images(2, 4, 6, 3))
    kt.testing.check_layer(SinePositions(2, 3), images(2, 6, 8))


def test_errors():
    with pytest.raises(ValueError, match="divides the image's height and width; received 4 for images of 6 x 8"):
        Patches(4)(images(1, 6, 8, 1))
    with pytest.raises(ValueError, match="`dim` that is a multiple of 4; received 6"):
        SinePositions(2, 3)(images(1, 6, 6))
