import sys

import keras
import numpy as np
import pytest

from keras_transfer.backbones.keras_cv import from_keras_cv

images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("uint8")


@pytest.fixture
def models():
    return pytest.importorskip("keras_cv").models


MAKE = {
    "ResNet": lambda models, **kwargs: models.ResNetBackbone(
        stackwise_filters=[64], stackwise_blocks=[1], stackwise_strides=[1], input_shape=(64, 64, 3), **kwargs
    ),
    "DenseNet": lambda models, **kwargs: models.DenseNetBackbone(
        stackwise_num_repeats=[1, 1], input_shape=(64, 64, 3), **kwargs
    ),
    "CSPDarkNet": lambda models, **kwargs: models.CSPDarkNetBackbone(
        stackwise_channels=[16, 32], stackwise_depth=[1, 1], input_shape=(64, 64, 3), **kwargs
    ),
}


@pytest.mark.parametrize("family", MAKE)
def test_features_and_saving(models, family, tmp_path):
    backbone = MAKE[family](models, include_rescaling=True)
    with pytest.warns(FutureWarning, match="no longer developed; its successor is keras-hub.*from_keras_hub"):
        model = from_keras_cv(backbone)
    maps = np.asarray(backbone(images.astype("float32")))
    assert maps.ndim == 4
    np.testing.assert_allclose(model(images), maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(images), model(images), atol=1e-6)


@pytest.mark.filterwarnings("ignore:keras-cv is no longer developed")
def test_wrong_sources(models):
    with pytest.raises(TypeError, match="a keras_cv Backbone; received .*kt.backbones.from_hub"):
        from_keras_cv(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="`include_rescaling=True`.*received False"):
        from_keras_cv(MAKE["DenseNet"](models, include_rescaling=False))


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_transfer\[cv\]'"):
        from_keras_cv("resnet50_imagenet")
