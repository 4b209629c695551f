"""The backbones of keras_cv, which is no longer developed."""

import warnings

import keras

from keras_transfer.backbones.features import not_a_backbone, pooled


def from_keras_cv(source, pooling="avg", **kwargs):
    """Makes a backbone of one of keras_cv. It is no longer developed; its maintained successor is keras-hub.

    With keras-cv 0.9 on Keras 3.15, ResNet, DenseNet, EfficientNet, MobileNetV3, CSPDarkNet, VGG and ViTDet backbones
    run; ResNetV2 and MiT raise errors of keras_cv. For new work use `from_keras_hub`.

    Args:
        source: preset name, handle or folder for `keras_cv.models.Backbone.from_preset`, or a
            `keras_cv.models.Backbone` object. Its `include_rescaling` must be True: the rescaling of images is inside.
        pooling: `"avg"` or `"max"`, over the positions of the last feature map.
        **kwargs: further arguments of `from_preset`, such as `load_weights=False`.

    Returns:
        `keras.Model` from images `(batch, height, width, 3)`, uint8 or float, in 0-255, to features `(batch, dim)`.

    Raises:
        ImportError: if keras_cv is not installed.
        TypeError: if `source` is neither.
        ValueError: if the backbone leaves the rescaling of images to others.
    """
    try:
        import keras_cv
    except ImportError as error:
        raise ImportError("Backbones of keras_cv need it: pip install 'keras_transfer[cv]'") from error
    warnings.warn(
        "keras-cv is no longer developed; its successor is keras-hub: `kt.backbones.from_keras_hub`.",
        FutureWarning,
        stacklevel=2,
    )
    if isinstance(source, str):
        source = keras_cv.models.Backbone.from_preset(source, **kwargs)
    if not isinstance(source, keras_cv.models.Backbone):
        raise not_a_backbone("a preset name or a keras_cv Backbone", source)
    if not getattr(source, "include_rescaling", True):
        raise ValueError(
            "Expected a backbone with `include_rescaling=True`, which takes images in 0-255; received False."
        )
    images = keras.Input(source.input.shape[1:], name="images")
    return keras.Model(images, pooled(source(images), pooling), name=f"{source.name}_features")
