import types

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import few_labels


def test_draws_as_many_of_each_class():
    labels = np.repeat(np.arange(4), 20)
    few = few_labels.draw(labels, 3, seed=0)
    assert np.bincount(labels[few]).tolist() == [3] * 4 and len(set(few)) == 12
    assert set(few) != set(few_labels.draw(labels, 3, seed=1))


def test_pixels_are_reduced_to_their_means():
    small = np.random.default_rng(0).integers(0, 256, (2, 28, 20, 1)).astype("uint8")
    np.testing.assert_allclose(few_labels.pixels(small), small.reshape(2, -1) / 255, atol=1e-6)
    plain = np.full((2, 64, 96, 3), [51, 102, 204], "uint8")
    rows = few_labels.pixels(plain)
    np.testing.assert_allclose(rows.reshape(2, 32, 32, 3), np.broadcast_to([0.2, 0.4, 0.8], (2, 32, 32, 3)), atol=1e-5)


def test_what_is_read_by_batches_is_all_of_it(monkeypatch):
    def read(rows):
        assert len(rows) <= 4
        return rows + 1

    monkeypatch.setattr(few_labels, "READ", 4)
    np.testing.assert_array_equal(few_labels.by_batches(read, np.arange(10)), np.arange(1, 11))


@pytest.mark.parametrize("swapped", [False, True])
def test_probes_are_chosen_by_the_labels_given(swapped):
    """On classes that are apart the labels held out are told right, whatever the test says."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = (10.0 * y[:, None] + rng.normal(size=(40, 3))).astype("float32")
    noise = keras.Sequential([keras.Input((3,)), keras.layers.GaussianNoise(0.1)])
    test_labels = 1 - y if swapped else y
    found = few_labels.probes(lambda rows: rows, noise, (x[:10], y[:10], None), (x, test_labels))
    for arm in ("probe", "views_probe"):
        assert found[arm]["validation"] == 1.0 and found[arm]["test"] == float(not swapped)
    _, scores = kt.metrics.tuned_probe(x[:10], y[:10])
    assert found["probe"]["penalty"] == max(scores, key=scores.get)


def test_a_part_of_each_class_chooses_the_rate():
    labels = np.repeat(np.arange(3), 10)
    part = few_labels.held_out(labels)
    assert np.bincount(labels[part]).tolist() == [2, 2, 2]
    assert few_labels.held_out(np.repeat(np.arange(3), 4)).sum() == 3
    assert not few_labels.held_out(np.array([0, 0, 1])).any()  # one of a class
    groups = np.arange(30) // 2
    part = few_labels.held_out(labels, groups)
    assert 0 < part.sum() < 15 and not set(groups[part]) & set(groups[~part])
    assert not few_labels.held_out(labels, labels).any()  # each class is one group


def test_rate_is_chosen_by_the_part_held_out_and_all_labels_train_at_it():
    """A rate that answers right in the part held out wins, although it is wrong in the test."""
    trained = []

    def train(x, y, groups, rate):
        trained.append((len(x), rate))
        inputs = keras.Input((2,))
        return keras.Model(inputs, inputs if rate == few_labels.RATES[1] else -inputs)

    y = np.repeat([0, 1], 5)
    x = np.eye(2, dtype="float32")[y]
    first, second = few_labels.RATES
    found = few_labels.best_of(train, (x, y, None), (x, 1 - y))
    assert found == {"validation": 1.0, "test": 0.0, "rate": second}
    assert trained == [(8, first), (8, second), (10, second)]
    found = few_labels.best_of(train, (x[4:6], y[4:6], None), (x, y))  # one of each class: nothing to hold out
    assert found == {"validation": None, "test": 0.0, "rate": first}


def test_where_each_arm_begins(monkeypatch):
    """LP-FT at the pretrained encoder and at a probe of the very images that it trains with, the twin anew."""
    begun, rng = [], np.random.default_rng(0)
    y = np.arange(20) % 2
    x = (rng.random((20, 2, 2, 1)) + y[:, None, None, None]).astype("float32")

    def fit_few(config, encoder, head, x, y, rate, seed, augmentation):
        features = np.array(encoder(x))
        if not head.built:
            head.build((None, 3))
        begun.append((encoder.get_weights()[0], [w.copy() for w in head.get_weights()], features, y))
        return keras.Sequential([encoder, head])

    def new():
        return keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])

    monkeypatch.setattr(few_labels, "fit_few", fit_few)
    keras.utils.set_random_seed(1)
    encoder, shown = new(), keras.Sequential([keras.layers.GaussianNoise(0.1)])
    others, few = {"pixels": few_labels.pixels}, (x, y, None)
    ways = few_labels.arms(None, 0, encoder, new, others, lambda *_: shown, few, (x, y), 2)
    assert list(ways) == ["probes", "pixels_probes", "lp_ft", "twin"]
    assert set(ways["pixels_probes"]()) == {"pixels_probe", "pixels_views_probe"}
    assert ways["lp_ft"]()["lp_ft"]["test"] > 0.9
    for weights, (kernel, bias), features, labels in begun:
        np.testing.assert_array_equal(weights, encoder.get_weights()[0])
        expected = kt.metrics.probe_head(kt.metrics.tuned_probe(features, labels)[0]).get_weights()
        np.testing.assert_allclose(kernel, expected[0], atol=1e-6)
        np.testing.assert_allclose(bias, expected[1], atol=1e-6)
    assert [len(labels) for *_, labels in begun] == [16, 16, 20]
    begun.clear()
    ways["twin"]()
    for weights, *_ in begun:
        np.testing.assert_array_equal(weights, begun[0][0])  # the same beginning for every rate
        assert np.abs(weights - encoder.get_weights()[0]).max() > 0.01


def test_fine_tuning_is_seeded():
    config = types.SimpleNamespace(steps=2)
    x, y = np.random.default_rng(0).random((8, 4, 4, 1)).astype("float32"), np.arange(8) % 2

    def augmentation(config, shape):
        return keras.Sequential([keras.Input(shape), keras.layers.GaussianNoise(0.1)])

    def trained(seed):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        return few_labels.fit_few(config, encoder, keras.layers.Dense(2), x, y, 0.1, seed, augmentation).get_weights()

    first, again, other = trained(0), trained(0), trained(1)
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
