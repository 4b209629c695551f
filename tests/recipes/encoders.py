"""A BERT of two small blocks for recipes of text: what `kt.backbones.minilm` makes, without its weights."""

import string

import keras

import keras_transfer as kt

DIM = 32


def small_bert(sequence_length=128, normalize=True, folder=None):
    """An encoder of strings whose pieces are letters."""
    import keras_hub

    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{one}" for one in letters)]
    words = kt.layers.WordPiece(vocabulary, sequence_length, name="word_pieces")
    backbone = keras_hub.models.BertBackbone(len(vocabulary), 2, 2, DIM, 2 * DIM, max_sequence_length=sequence_length)
    model = kt.backbones.from_keras_hub(backbone, preprocessor=words, pooling="avg")
    encoder = model.get_layer("encoder")
    if normalize:
        encoder = keras.Model(encoder.input, keras.layers.UnitNormalization()(encoder.output), name="encoder")
    return keras.Model(model.input, encoder(words(model.input)), name="minilm")
