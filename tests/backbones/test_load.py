import importlib

import keras
import numpy as np
import pytest
from keras import layers

import keras_transfer as kt
from keras_transfer.backbones.load import load

MODULE = importlib.import_module("keras_transfer.backbones.load")  # the room has a function of that name
SHAPE = (16, 16, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("float32")


def save(folder, *stack, shape=SHAPE):
    network = keras.Sequential([keras.Input(shape), *stack], name="mine")
    network.save(folder / "mine.keras")
    return network, f"file:{folder / 'mine.keras'}"


@pytest.mark.parametrize("trainable", [True, False])
def test_small_cnn(trainable):
    backbone = load("small_cnn", SHAPE, trainable)
    assert backbone.input_shape == (None, *SHAPE) and backbone(IMAGES).shape == (2, 128)
    assert bool(backbone.trainable_weights) is trainable


def test_a_file_of_features_is_taken_as_it_is(tmp_path):
    network, name = save(tmp_path, layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(5))
    backbone = load(name, SHAPE, trainable=False)
    np.testing.assert_allclose(backbone(IMAGES), network(IMAGES), atol=1e-6)
    assert not backbone.trainable_weights and load(name, SHAPE).trainable_weights


def test_the_map_of_a_file_is_averaged(tmp_path):
    network, name = save(
        tmp_path, layers.Rescaling(1 / 255), layers.Conv2D(4, 3, name="features"), shape=(None, None, 3)
    )
    backbone = load(name, SHAPE)
    np.testing.assert_allclose(backbone(IMAGES), np.mean(network(IMAGES), axis=(1, 2)), atol=1e-6)
    assert backbone.get_layer("features") is not None  # flat: its layers are reached by name


def test_layers_of_a_file_get_names_that_a_savedmodel_takes(tmp_path):
    inside = keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(4, 3, name="_stem"), layers.BatchNormalization(name="_bn")]
    )
    inside.get_layer("_bn").moving_mean.assign([0.1, 0.2, 0.3, 0.4])
    network, name = save(tmp_path, layers.Rescaling(1 / 255), inside)
    backbone = load(name, SHAPE, trainable=False)
    np.testing.assert_allclose(backbone(IMAGES), np.mean(network(IMAGES), axis=(1, 2)), atol=1e-6)
    assert kt.export(backbone, tmp_path / "served", IMAGES, verify=False).name == "1"


def test_a_file_without_preprocessing_is_warned_of(tmp_path):
    _, name = save(tmp_path, layers.Conv2D(4, 3, name="stem"))
    with pytest.warns(UserWarning, match="begins with the Conv2D 'stem', which gets pixels in 0-255 as they are.*Resc"):
        load(name, SHAPE)


def test_files_that_hold_no_backbone(tmp_path):
    rescale = layers.Rescaling(1 / 255)
    for stack, shape, message in (
        (
            [rescale, layers.Flatten()],
            (8, 8, 3),
            r"of images \(16, 16, 3\); received .*, which takes \(None, 8, 8, 3\)",
        ),
        ([rescale, layers.Flatten()], (16, 16, 1), "which takes .None, 16, 16, 1."),
        ([rescale, layers.Reshape((256, 3))], SHAPE, r"or a feature map from .*mine.keras; received \(None, 256, 3\)"),
    ):
        _, name = save(tmp_path, *stack, shape=shape)
        with pytest.raises(ValueError, match=message):
            load(name, SHAPE)
    a = keras.Input(SHAPE)
    keras.Model(a, [layers.Flatten()(a), a]).save(tmp_path / "two.keras")
    with pytest.raises(ValueError, match="one input and one output in .*two.keras; received 1 and 2"):
        load(f"file:{tmp_path / 'two.keras'}", SHAPE)
    encoder = kt.backbones.small_cnn(SHAPE, dim=4)
    head = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    method = kt.models.DAN(encoder, head)
    method.build((None, *SHAPE))
    method.save(tmp_path / "dan.keras")
    with pytest.raises(ValueError, match=r"network in .*dan.keras; received a DAN: save its encoder alone, `model.enc"):
        load(f"file:{tmp_path / 'dan.keras'}", SHAPE)


@pytest.mark.parametrize(
    "name, message",
    [
        ("small_cn", "small_cnn, .*or file:<path>.keras; received 'small_cn'. Did you mean small_cnn"),
        ("MobileNetV2", 'received .MobileNetV2.. Write "applications:MobileNetV2"'),
        ("application:MobileNetV2", "Did you mean applications:<name>"),
        ("applications:MobilNetV2", "a network of keras.applications, such as MobileNetV2"),
        ("applications:", "received 'applications:'"),
        ("resnet", "received 'resnet'\\.$"),
        ("mine.keras", 'Write "file:mine.keras"'),
        ("file:nowhere.keras", "a file <path>.keras of a Keras 3 network; received 'nowhere.keras'"),
        ("hub:nowhere", "a folder, or a handle of TF Hub; received 'nowhere'"),
        (3, "received 3"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(ValueError, match=message):
        load(name, SHAPE)


def test_a_file_of_nearly_that_name_is_named(tmp_path):
    _, name = save(tmp_path, layers.Rescaling(1 / 255), layers.Flatten())
    with pytest.raises(ValueError, match="received .*min.keras'. Beside it: mine.keras"):
        load(name.replace("mine.keras", "min.keras"), SHAPE)


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 1), (0, 16, 3), (None, None, 3)])
def test_shapes_that_are_none(shape):
    with pytest.raises(ValueError, match="`input_shape` .height, width, 3. of images in colour; received"):
        load("small_cnn", shape)
    with pytest.raises(ValueError, match="`trainable` to be True or False; received 'no'"):
        load("small_cnn", SHAPE, trainable="no")


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def fail(*_, **__):
        raise Exception("URL fetch failure on https://nowhere: None -- no network")  # noqa: TRY002, as Keras does

    monkeypatch.setattr(MODULE, "from_applications", fail)
    with pytest.raises(OSError, match='weights of MobileNetV2; received: URL fetch.*ask for "file:<path>.keras"'):
        load("applications:MobileNetV2", SHAPE)


def test_other_errors_pass(monkeypatch):
    def fail(*_, **__):
        raise MemoryError("all of it")

    monkeypatch.setattr(MODULE, "from_applications", fail)
    with pytest.raises(MemoryError):
        load("applications:MobileNetV2", SHAPE)


def test_a_network_of_applications(monkeypatch):
    """Keras's own weights need a download: random ones stand for them."""
    made = kt.backbones.from_applications
    monkeypatch.setattr(
        MODULE,
        "from_applications",
        lambda name, input_shape: made(name, None, input_shape, alpha=0.25, layer="conv_pw_1_relu"),
    )
    backbone = load("applications:MobileNet", (32, 32, 3), trainable=False)
    assert backbone.input_shape == (None, 32, 32, 3) and len(backbone.output_shape) == 2
    assert not backbone.trainable_weights
