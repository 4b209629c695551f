import keras
import numpy as np
import pytest

from keras_transfer.finetuning.interpolation import interpolate


def test_values():
    start, end = [np.array([0.0, 2.0], "float32")], [np.array([4.0, 4.0], "float32")]
    (quarter,) = interpolate(start, end, 0.25)
    assert quarter.tolist() == [1.0, 2.5] and quarter.dtype == "float32"
    assert interpolate(start, end)[0].tolist() == [2.0, 3.0]


def test_the_ends_are_exact():
    rng = np.random.default_rng(0)
    start, end = [[rng.normal(size=(3, 4)).astype("float32")] for _ in range(2)]
    np.testing.assert_array_equal(interpolate(start, end, 0)[0], start[0])
    np.testing.assert_array_equal(interpolate(start, end, 1.0)[0], end[0])


def test_counters_and_types_are_of_the_end():
    start = [np.array(3, "int64"), np.array([1, 2], "uint32"), np.array(True), np.array(1.0, "float16")]
    end = [np.array(9, "int64"), np.array([5, 6], "uint32"), np.array(False), np.array(2.0, "float16")]
    result = interpolate(start, end)
    assert [array.tolist() for array in result] == [9, [5, 6], False, 1.5]
    assert [array.dtype for array in result] == [array.dtype for array in end]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model(dtype):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype=dtype), keras.layers.BatchNormalization()])
    start = model.get_weights()
    end = [weight + 1 for weight in start]
    model.set_weights(interpolate(start, end))
    for weight, a in zip(model.get_weights(), start):
        np.testing.assert_allclose(np.float32(weight), np.float32(a) + 0.5, atol=1e-2)


def test_bad_input():
    with pytest.raises(ValueError, match="received 1 and 2 arrays"):
        interpolate([np.zeros(2)], [np.zeros(2), np.zeros(2)])
    with pytest.raises(ValueError, match=r"received \(2,\) and \(3,\) at index 1"):
        interpolate([np.zeros(1), np.zeros(2)], [np.zeros(1), np.zeros(3)])
