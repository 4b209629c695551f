import keras
import numpy as np
import pytest

from keras_transfer.metrics.named_means import NamedMeans


def test_means_of_names_that_come_late():
    means = NamedMeans(["a"])
    means.update_state({"a": 1.0, "b": 4.0}, sample_weight=3)
    means.update_state({"a": 5.0})
    found = {name: float(value) for name, value in means.result().items()}
    np.testing.assert_allclose([found["a"], found["b"]], [(3 * 1.0 + 5.0) / 4, 4.0])
    assert means.counted() == means.updated == {"a", "b"}
    means.start()
    means.reset_state()
    assert means.counted() == means.updated == set()


def test_each_name_by_its_own_weight():
    means = NamedMeans(["a", "b"])
    means.update_state({"a": 1.0, "b": 4.0}, {"a": 3, "b": 0})
    assert means.counted() == {"a"} and float(means.result()["b"]) == 0.0
    means.update_state({"a": 5.0, "b": 7.0}, {"a": 1, "b": 2})
    found = means.result()
    np.testing.assert_allclose([float(found["a"]), float(found["b"])], [(3 * 1.0 + 5.0) / 4, 7.0])


def test_a_total_is_the_sum_of_the_means_of_its_parts():
    means = NamedMeans(["a"])
    assert means.total("loss") is None
    means.update_state({"a": 9.0})
    means.update_state({"a": 1.0, "b": 10.0}, {"a": 3, "b": 1}, total="loss")
    means.update_state({"later": 2.0})
    means.update_state({"b": 0.0, "c": 7.0, "a": 5.0}, {"a": 1, "b": 0, "c": 2}, total="loss")  # "later" lies between
    assert {name: float(value) for name, value in means.result().items()} == {"a": 9.0, "later": 2.0}
    assert tuple(map(float, means.total("loss"))) == ((3 * 1.0 + 5.0) / 4 + 10.0 + 7.0, 4 + 1 + 2)
    assert means.counted() == means.updated == {"a", "later"}
    means.reset_state()
    assert tuple(map(float, means.total("loss"))) == (0.0, 0.0)


def test_what_is_not_finite_stays_with_its_name():
    means = NamedMeans(["a", "b"])
    means.update_state({"a": float("nan"), "b": 2.0})
    assert np.isnan(float(means.result()["a"])) and float(means.result()["b"]) == 2.0


def test_too_many_names():
    means = NamedMeans(["a"])
    means.update_state({f"more_{i}": 0.0 for i in range(256)})
    with pytest.raises(ValueError, match="at most 256 names that were not announced; received 'another' besides"):
        means.update_state({"another": 0.0})


def test_float16_counts_in_float32():
    """4,097 is no float16; Keras's own means are of the policy's dtype."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        means = NamedMeans()
        means.update_state({"a": keras.ops.cast(1.0, "float16")}, sample_weight=4097)
        means.update_state({"a": 0.0}, sample_weight=4097)
    finally:
        keras.config.set_dtype_policy(policy)
    assert float(means.result()["a"]) == 0.5
