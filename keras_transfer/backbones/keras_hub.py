"""The backbones of keras_hub, which keras_nlp is another name of: images, and text from strings or token ids."""

import base64
import json
import pathlib
import warnings

import keras
from keras import ops

from keras_transfer.backbones.features import not_a_backbone, pooled
from keras_transfer.keras_internals import all_layers, child_layers
from keras_transfer.layers.word_piece import WordPiece


def from_keras_hub(source, preprocessor=None, pooling=None, **kwargs):
    """Makes a backbone of one of keras_hub; keras_nlp's are the same classes.

    Args:
        source: preset name, handle or local folder for `keras_hub.models.Backbone.from_preset`, whose preprocessing
            goes inside; or a `keras_hub.models.Backbone` object.
        preprocessor: layer from raw input to what the backbone takes, in place of the preset's. Text: such as
            `kt.layers.WordPiece(vocabulary, sequence_length=64)`, with which the model is served without a plug-in, or
            `keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=64)`. Of a preset of BERT or
            DistilBERT it is the former, which drops accents where case is dropped, as these were trained and as
            keras_hub does not; others make sequences of 512 tokens unless told otherwise. Images: such as
            `keras_hub.layers.ImageConverter(...)` or `keras.layers.Rescaling(1 / 255)`; required for a backbone object
            that takes images.
        pooling: `"avg"`: mean over positions, padding left out. `"max"`, for images. `"first"`: first position of a
            sequence. Default: what the backbone was made for: its pooled output, its class token, or else the mean.
        **kwargs: further arguments of `Backbone.from_preset`, such as `load_weights=False`.

    Returns:
        `keras.Model` to features `(batch, dim)`, from

        - images `(batch, height, width, channels)`, uint8 or float, in 0-255;
        - strings `(batch,)`, with a text preprocessor: tensors, `tf.data` or NumPy arrays of dtype object, TensorFlow
          only. Begin a `keras.Sequential` with `keras.Input((), dtype="string")`: Keras takes its inputs for floats
          otherwise, and says "Cast string to float is not supported". A `.keras` file holds the vocabulary. With
          `kt.layers.WordPiece` the layer `encoder` goes from token ids to features, and inside it `tokens` from ids to
          the backbone's outputs; an exported SavedModel of other preprocessors needs TensorFlow Text where it loads;
        - otherwise the backbone's own dict of token ids and masks.

    A folder in Hugging Face's form whose `config.json` asks for the exact GELU gets it, where keras_hub's BERT has its
    approximation by tanh, which is wrong by 4e-4 of the features; such a handle gets a warning.

    Raises:
        ImportError: if keras_hub is not installed.
        TypeError: if `source` is neither.
        ValueError: if images lack a preprocessor, texts may be longer than the backbone can read, or the output comes
            to no features.

    Example:

    ```python
    backbone = kt.backbones.from_keras_hub("bert_tiny_en_uncased")
    features = backbone(tf.constant(["a good film", "a bad one"]))  # (2, 128)
    ```
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError("Backbones of keras_hub need it: pip install 'keras_transfer[keras_hub]'") from error
    backbone = source
    if isinstance(source, str):
        backbone = keras_hub.models.Backbone.from_preset(source, **kwargs)
    if not isinstance(backbone, keras_hub.models.Backbone):
        raise not_a_backbone("a preset name, a preset's folder or a keras_hub Backbone", source)
    text, features = isinstance(backbone.input, dict), _reader(backbone, pooling)
    bert, longest = isinstance(backbone, keras_hub.models.BertBackbone), getattr(backbone, "max_sequence_length", None)
    if text and pooling is not None and isinstance(backbone.output, dict):  # a pooler would train on nothing
        backbone = keras.Model(backbone.input, backbone.output["sequence_output"], name=backbone.name)
    if isinstance(source, str) and bert:
        backbone = _with_its_gelu(backbone, source)
    if isinstance(source, str) and preprocessor is None:
        kind = keras_hub.models.TextClassifierPreprocessor if text else keras_hub.layers.ImageConverter
        preprocessor = _of_stock_operations(kind.from_preset(source)) if text else kind.from_preset(source)
    if preprocessor is None and not text:
        raise ValueError(
            "Expected a `preprocessor` for a backbone object that takes images, since only its preset knows its range, "
            "such as `keras.layers.Rescaling(1 / 255)`; received None."
        )
    if text and preprocessor is None:
        inputs = x = {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in backbone.input.items()}
    elif isinstance(preprocessor, WordPiece):
        if longest is not None and preprocessor.sequence_length > longest:
            raise ValueError(
                f"Expected `sequence_length` of at most {longest}, as {backbone.name!r} has positions; received "
                f"{preprocessor.sequence_length}."
            )
        inputs = keras.Input((), dtype="string", name="text")
        encoder = _of_ids(backbone, features)
        return KerasHubFeatures(inputs, encoder(preprocessor(inputs)), name=f"{backbone.name}_features")
    elif text:
        inputs = keras.Input((), dtype="string", name="text")
        x = TextPreprocessing(preprocessor)(inputs)
    else:
        sized = getattr(preprocessor, "image_size", None)
        shape = (None, None, backbone.input.shape[-1]) if sized else backbone.input.shape[1:]
        inputs = keras.Input(shape, name="images")
        x = preprocessor(inputs)
    outputs = features(backbone(x), x.get("padding_mask") if text else None)
    return KerasHubFeatures(inputs, outputs, name=f"{backbone.name}_features")


@keras.saving.register_keras_serializable(package="keras_transfer")
class KerasHubFeatures(keras.Model):
    """A functional model around a backbone of keras_hub, which stays frozen in a `.keras` file where all of it is.

    The backbone's config says no more than that; Keras 3.15 reads it before the backbone has its layers.
    """

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the model that `get_config` describes."""
        model = super().from_config(config, custom_objects)
        for layer in all_layers(model):
            for inner in () if layer.trainable else child_layers(layer):
                inner.trainable = False
        return model


def _of_ids(backbone, features):
    """Makes the network from token ids `(batch, length)`, 0 for padding, to features, with the layer `tokens`."""
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    filled = {
        "token_ids": ids,
        "segment_ids": ops.zeros_like(ids),
        "padding_mask": ops.cast(ops.not_equal(ids, 0), "int32"),
    }
    output = backbone({name: filled[name] for name in backbone.input})
    tokens = keras.Model(ids, output, name="tokens")
    return keras.Model(ids, features(tokens(ids), ops.not_equal(ids, 0)), name="encoder")


def _of_stock_operations(preprocessor):
    """The `WordPiece` that does what a preset's preprocessor of BERT does, accents dropped where case is; or that."""
    import keras_hub

    tokenizer = preprocessor.tokenizer
    kinds = keras_hub.models.BertTokenizer, keras_hub.models.DistilBertTokenizer
    if type(tokenizer) not in kinds or tokenizer.vocabulary[0] != "[PAD]":
        return preprocessor
    return WordPiece(tokenizer.vocabulary, preprocessor.sequence_length, tokenizer.lowercase)


def _with_its_gelu(backbone, source):
    """A BERT with the exact GELU where its folder asks for it; a warning where that cannot be seen."""
    import keras_hub

    config = pathlib.Path(source, "config.json")
    if source.startswith(("hf://", "modelscope://")):
        warnings.warn(
            f"Expected the folder of a BERT of Hugging Face's form, to see which GELU it was trained with; "
            f"received the handle {source!r}: keras_hub takes the approximation. Download it and pass its folder.",
            stacklevel=3,
        )
    if not config.exists() or json.loads(config.read_text(encoding="utf-8")).get("hidden_act") != "gelu":
        return backbone

    def copied(layer):
        config = layer.get_config()
        if isinstance(layer, keras_hub.layers.TransformerEncoder):
            config["activation"] = "gelu"
        return type(layer).from_config(config)

    plain = keras.Model(backbone.input, backbone.output, name=backbone.name)
    exact = keras.models.clone_model(plain, clone_function=copied)
    exact.set_weights(backbone.get_weights())
    return exact


def _reader(backbone, pooling):
    """The function from a backbone's output and its mask to features."""
    position = getattr(backbone, "cls_token_index", getattr(backbone, "start_token_index", None))
    if getattr(backbone, "use_class_token", False):
        position = 0

    def features(output, mask):
        if isinstance(output, dict):
            if pooling is None and "pooled_output" in output:
                return output["pooled_output"]
            if "sequence_output" not in output:
                raise ValueError(f"Expected a backbone with one output; received the outputs {sorted(output)}.")
            output = output["sequence_output"]
        if pooling is None and position is not None and len(output.shape) == 3:
            return output[:, position]
        return pooled(output, pooling or "avg", mask)

    return features


@keras.saving.register_keras_serializable(package="keras_transfer")
class TextPreprocessing(keras.layers.Layer):
    """Runs a text preprocessor of keras_hub and carries its vocabulary in the config, so that models can be cloned.

    Args:
        preprocessor: layer from strings `(batch,)` to a dict of token ids and masks, with a `tokenizer`.
    """

    def __init__(self, preprocessor, **kwargs):
        super().__init__(**kwargs)
        if getattr(preprocessor, "tokenizer", None) is None:
            raise TypeError(f"Expected a text preprocessor of keras_hub with a `tokenizer`; received {preprocessor!r}.")
        self.preprocessor = preprocessor
        self.supports_jit = False
        self.built = True

    def call(self, text):
        """Returns the dict of token ids and masks."""
        return self.preprocessor(text)

    def get_config(self):
        """Returns the preprocessor and what its tokenizer's own config leaves out."""
        tokenizer = self.preprocessor.tokenizer
        if hasattr(tokenizer, "set_proto"):
            vocabulary = base64.b64encode(tokenizer.proto).decode()
        elif hasattr(tokenizer, "set_vocabulary_and_merges"):
            vocabulary = [dict(tokenizer.vocabulary), list(tokenizer.merges)]
        else:
            vocabulary = list(tokenizer.vocabulary)
        preprocessor = keras.saving.serialize_keras_object(self.preprocessor)
        return {**super().get_config(), "preprocessor": preprocessor, "vocabulary": vocabulary}

    @classmethod
    def from_config(cls, config):
        """Makes the layer that `get_config` describes."""
        config = dict(config)
        vocabulary = config.pop("vocabulary")
        config["preprocessor"] = keras.saving.deserialize_keras_object(config["preprocessor"])
        tokenizer = config["preprocessor"].tokenizer
        if hasattr(tokenizer, "set_proto"):
            tokenizer.set_proto(base64.b64decode(vocabulary))
        elif hasattr(tokenizer, "set_vocabulary_and_merges"):
            tokenizer.set_vocabulary_and_merges(*vocabulary)
        else:
            tokenizer.set_vocabulary(vocabulary)
        return cls(**config)
