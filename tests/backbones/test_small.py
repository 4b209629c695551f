import keras
import numpy as np
import pytest

from keras_transfer.backbones.small import small_cnn, small_mlp, small_transformer

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (3, 16, 16, 1)).astype("uint8")
tokens = np.array([[3, 4, 5, 0, 0, 0], [5, 4, 3, 0, 0, 0], [0] * 6, [1, 2, 3, 4, 5, 6]])


@pytest.mark.parametrize(
    "model, x",
    [
        (small_cnn((16, 16, 1), dim=8), images),
        (small_mlp((16, 16, 1), dim=8), images),
        (small_mlp((5,), dim=8), rng.normal(size=(4, 5)).astype("float32")),
        (small_transformer(7, 6, dim=8), tokens),
    ],
    ids=["cnn", "mlp", "mlp_vectors", "transformer"],
)
def test_features(model, x, tmp_path):
    features = np.asarray(model(x))
    assert features.shape == (len(x), 8) and model.output.shape == (None, 8)
    np.testing.assert_allclose(model(x.astype("float32")), features, atol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), features, atol=1e-6)
    assert keras.models.clone_model(model)(x).shape == features.shape
    assert all(variable.path.split("/")[0] for variable in model.weights)


@pytest.mark.parametrize("model, x", [(small_cnn((16, 16, 1), 8), images), (small_transformer(7, 6, 8), tokens)])
def test_every_weight_learns(model, x):
    before = [variable.numpy() for variable in model.trainable_variables]
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, rng.normal(size=(len(x), 8)), epochs=3, verbose=0)
    still = [v.path for v, old in zip(model.trainable_variables, before) if np.array_equal(v.numpy(), old)]
    assert still == [] or all(path.endswith("key/bias") for path in still)  # softmax ignores a shift of all keys


def test_averages_follow_as_they_are_told():
    """After one training step they hold the momentum's share of what they began with, 0."""
    encoder, rows = small_cnn((8, 8, 1), dim=4, momentum=0.75), images[:4, :8, :8]
    mean = np.mean(encoder.get_layer("conv_1")(rows / 255), axis=(0, 1, 2))
    encoder(rows, training=True)
    np.testing.assert_allclose(encoder.get_layer("bn_1").moving_mean, 0.25 * mean, rtol=1e-4, atol=1e-7)


def test_an_mlp_by_hand():
    model = small_mlp((16, 16, 1), dim=8)
    first, second = model.get_layer("dense_1"), model.get_layer("dense_2")
    hidden = np.maximum(images.reshape(3, -1) / 255 @ first.kernel.numpy(), 0)
    np.testing.assert_allclose(model(images), np.maximum(hidden @ second.kernel.numpy(), 0), atol=1e-5)


def test_padding_changes_nothing_and_order_counts():
    model = small_transformer(7, 6, dim=8)
    short = small_transformer(7, 3, dim=8)
    values = [v if v.shape != (6, 8) else v[:3] for v in model.get_weights()]
    short.set_weights(values)
    features = np.asarray(model(tokens))
    np.testing.assert_allclose(short(tokens[:2, :3]), features[:2], atol=1e-6)
    assert np.abs(features[0] - features[1]).max() > 1e-4
    np.testing.assert_array_equal(features[2], 0)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"\(height, width, channels\); received \(5,\)"):
        small_cnn((5,))
    with pytest.raises(ValueError, match="`dim` of at least 4; received 3"):
        small_cnn((16, 16, 1), dim=3)
    with pytest.raises(ValueError, match="`dim` of at least 1; received 0"):
        small_mlp((5,), dim=0)
    with pytest.raises(ValueError, match="multiple of 4; received 10"):
        small_transformer(7, 6, dim=10)
