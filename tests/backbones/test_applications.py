import sys

import keras
import numpy as np
import pytest

from keras_transfer.backbones.applications import from_applications

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8")


def tiny(**kwargs):
    return from_applications("MobileNet", weights=None, input_shape=(32, 32, 3), alpha=0.25, **kwargs)


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
FAMILIES = {
    "MobileNet": ("conv1_relu", lambda x: x / 127.5 - 1),
    "VGG16": ("block1_conv1", lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68])),
    "DenseNet121": ("conv1_relu", lambda x: (x / 255 - MEAN) / STD),
    "MobileNetV3Small": ("conv_bn", lambda x: x),  # its own first layer rescales
}


@pytest.mark.parametrize("family", FAMILIES)
def test_preprocessing(family):
    layer, preprocess = FAMILIES[family]
    model = from_applications(family, weights=None, input_shape=(32, 32, 3), layer=layer)
    expected = preprocess(images.astype("float64")).astype("float32")
    for each in model.layers[1:]:  # up to here a plain chain
        expected = each(expected)
    for x in (images, images.astype("float32")):
        np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(np.asarray(expected), axis=0).max() > 0.01  # the features depend on the images


def test_every_application_says_its_preprocessing():
    networks = [getattr(keras.applications, name) for name in dir(keras.applications) if name[0].isupper()]
    assert len(networks) > 30
    for network in networks:
        assert callable(sys.modules[network.__module__].preprocess_input)


@pytest.mark.parametrize("family", ["VGG16", "MobileNet"])
def test_saving_and_cloning(family, tmp_path):
    layer = {"VGG16": "block1_conv1", "MobileNet": "conv_pw_1_relu"}[family]
    model = from_applications(family, weights=None, input_shape=(32, 32, 3), layer=layer)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images), model(images), atol=1e-6)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone(images), model(images), atol=1e-6)


def test_an_inner_layer_and_its_pooling():
    average, largest = (tiny(layer="conv_pw_3_relu", pooling=pooling) for pooling in ("avg", "max"))
    largest.set_weights(average.get_weights())
    inner = keras.Model(average.input, average.get_layer("conv_pw_3_relu").output)
    assert "conv_pw_4" not in {layer.name for layer in average.layers}
    maps = np.asarray(inner(images))
    np.testing.assert_allclose(average(images), maps.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(largest(images), maps.max(axis=(1, 2)), rtol=1e-5)
    assert average.output.shape == (None, 32)


def test_inner_layers_are_reached_and_batch_normalization_follows_the_call():
    model = tiny()
    assert "conv_pw_7/kernel" in {variable.path for variable in model.trainable_variables}
    moving = model.get_layer("conv1_bn").moving_mean
    before = moving.numpy()
    model(images, training=False)
    np.testing.assert_array_equal(moving.numpy(), before)
    model(images, training=True)
    assert not np.array_equal(moving.numpy(), before)
    frozen = moving.numpy()
    model.get_layer("conv1_bn").trainable = False
    model(images, training=True)
    np.testing.assert_array_equal(moving.numpy(), frozen)


def test_any_size():
    model = from_applications("MobileNet", weights=None, alpha=0.25)
    for size in (32, 64):
        assert model(np.zeros((1, size, size, 3), "uint8")).shape == (1, 256)


def test_weights_from_a_file(tmp_path):
    path = tmp_path / "tiny.weights.h5"
    original = tiny(layer="conv_pw_3_relu")
    original.save_weights(path)
    model = from_applications(
        "MobileNet", weights=path, input_shape=(32, 32, 3), alpha=0.25, layer="conv_pw_2_relu", pooling="max"
    )
    for ours, theirs in zip(model.weights, original.weights):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    with pytest.raises(ValueError, match="to hold all of MobileNet(.|\n)*Not in the file: conv_dw_4/kernel"):
        from_applications("MobileNet", weights=path, input_shape=(32, 32, 3), alpha=0.25)


def test_real_weights_give_the_features_of_the_same_network_from_elsewhere(data_folder):
    import tensorflow as tf

    module = data_folder / "hub" / "mobilenet_v1_pw12_feature_vector"
    weights = data_folder / "weights" / "mobilenet_v1_1.0_to_conv_pw_12.weights.h5"
    if not (module.is_dir() and weights.is_file()):
        pytest.skip(f"{module} or {weights} is missing")
    model = from_applications("MobileNet", weights=weights, input_shape=(96, 96, 3), layer="conv_pw_12_relu")
    reference = tf.saved_model.load(str(module))
    x = rng.integers(0, 256, (4, 96, 96, 3)).astype("uint8")
    for training in (False, True):
        expected = reference(tf.constant(x / 255, "float32"), training=training).numpy()
        assert expected.shape == (4, 1024) and expected.max() > 0.5
        np.testing.assert_allclose(model(x, training=training), expected, atol=1e-4)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="such as MobileNetV2.*received 'MobilNetV2'"):
        from_applications("MobilNetV2", weights=None)
    with pytest.raises(ValueError, match="Expected a network of keras.applications"):
        from_applications("imagenet_utils", weights=None)
    with pytest.raises(ValueError, match="layer of MobileNet, such as conv_pw_1_relu.*received 'conv_pw_1_rel'"):
        tiny(layer="conv_pw_1_rel")
    with pytest.raises(ValueError, match="`pooling` that fits an output of shape .*received 'mean'"):
        tiny(pooling="mean")
    with pytest.raises(TypeError, match="`kt.backbones.from_hub"):
        from_applications(keras.layers.Dense(2), weights=None)
