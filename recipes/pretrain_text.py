"""Pretrains an encoder of texts without labels, then says what a few labels are worth on it; exports it.

    python -m keras_transfer.recipes.pretrain_text
    python -m keras_transfer.recipes.pretrain_text --data movie_reviews --objective masked --encoder minilm
    python -m keras_transfer.recipes.pretrain_text --files notes.txt --csv labelled.csv

`masked`: tokens are hidden and predicted; held against the most frequent token, and against the most frequent one
behind the token before, counted on the same texts. `denoising`: scrambled texts are put right; held against copying
what was scrambled. `simcse`: a text finds itself under other dropout. A tenth of the texts is held out, and what is
said of tokens is measured there. By default the texts are what functions of installed packages say of themselves, and
the encoder is small and new: about six minutes on one core. `--data movie_reviews` reads whole reviews, and SST-2 for
the labels; `trec` its own questions; both read `KERAS_TRANSFER_DATA`. `--encoder minilm` goes on with all-MiniLM-L6-v2
(extra `text`). Measured numbers: `results/pretrain_text/<case>.json`.

Few labels train the whole network from where it then is (`after`), and from where it was (`before`): of a new encoder
that is from scratch. A fifth of them chooses the rate. Of `minilm` it is a regression on frozen features instead. Both
get the same labels and steps.
`precision_at_10` is the share of the ten nearest texts of the test that have a text's own class, by the mean over its
tokens, before and after, and by tf-idf.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Literal

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import own_texts, pictures, runs
from keras_transfer.recipes.few_labels import draw

FEW_RATES = (3e-4, 1e-3, 3e-3)  # of AdamW, for the few labels
LABELLED = {"movie_reviews": "sst2"}  # where the labels are another data set's


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["docstrings", "movie_reviews", "trec"] = "docstrings"
    """The texts without labels, and with them the labelled ones."""
    files: tuple[pathlib.Path, ...] | None = None
    """Files of your own with one text in a line, in place of these."""
    csv: pathlib.Path | None = None
    """CSV file of your own with the columns `text` and `label`, for the few labels, in place of the data set's."""
    objective: Literal["masked", "denoising", "simcse"] = "masked"
    """What is learned from the texts."""
    encoder: Literal["small", "minilm"] = "small"
    """A new Transformer, or all-MiniLM-L6-v2."""
    vocabulary: int = 6000
    """Word pieces that a new encoder gets, counted on the texts."""
    dim: int = 128
    """Width of a new encoder."""
    blocks: int = 4
    """Blocks of a new encoder."""
    convolution: int = 5
    """Tokens beside one another that a new encoder joins before each attention."""
    length: int = 64
    """Tokens of a row; of longer texts what follows is the next row where tokens are masked, otherwise it is cut."""
    steps: int = 2000
    """Training steps."""
    batch_size: int = 32
    """Rows in a step."""
    learning_rate: float = 1e-3
    """The highest rate of AdamW, after a tenth of the steps; then it falls to 0 as a cosine."""
    labels: int = 500
    """Labelled texts for the comparison, as many of each class."""
    few_steps: int = 300
    """Steps of the training on these."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One pretraining and one draw of labels for each; at least two, for an interval."""
    runs: pathlib.Path = pathlib.Path("runs/pretrain_text")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/pretrain_text/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/pretrain_text/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns the texts without labels, the labelled ones to train on and to test, and the classes."""
    data, classes = own_texts.load(LABELLED.get(config.data, config.data), config.csv)
    if config.files is not None:
        lines = [line for path in config.files for line in path.read_text("utf-8").splitlines() if line.strip()]
        return np.array(lines, object), data, classes
    if config.data == "movie_reviews":
        return kt.datasets.movie_reviews()[0], data, classes
    return data["train"][0], data, classes


def word_pieces(config, texts):
    """Returns the tokenizer: MiniLM's, or one whose pieces are counted on the texts."""
    if config.encoder == "minilm":
        return kt.backbones.minilm(config.length).get_layer("word_pieces")
    import keras_hub
    import tensorflow as tf

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = keras_hub.tokenizers.compute_word_piece_vocabulary(
        tf.data.Dataset.from_tensor_slices(list(texts)).batch(256),
        config.vocabulary,
        lowercase=True,
        strip_accents=True,
        reserved_tokens=special,
    )
    return kt.layers.WordPiece(vocabulary, config.length, name="word_pieces")


def build(config, tokens):
    """Returns the encoder from token ids, and the method."""
    size = len(tokens.vocabulary)
    if config.encoder == "minilm":
        encoder = kt.backbones.minilm(config.length, normalize=False).get_layer("encoder")
    else:
        dropout = 0.1 if config.objective == "simcse" else 0.0
        encoder = kt.backbones.small_transformer(
            size, config.length, config.dim, config.blocks, dropout=dropout, convolution=config.convolution
        )
    if config.objective == "masked":
        return encoder, kt.models.MaskedLanguageModel(encoder)
    if config.objective == "denoising":
        decoder = kt.backbones.small_text_decoder(size, config.length, encoder.output_shape[-1])
        return encoder, kt.models.DenoisingText(encoder, decoder)
    return encoder, kt.models.SimCSE(of_strings(tokens, encoder))


def of_strings(tokens, encoder):
    """Returns an encoder of strings."""
    text = keras.Input((), dtype="string", name="text")
    return keras.Model(text, encoder(tokens(text)))


def stream_of(config, tokens, texts, seed):
    """Returns what the method trains on."""
    if config.objective == "simcse":
        return kt.streams.sentence_pairs(texts, config.batch_size, seed=seed)
    if config.objective == "denoising":
        return kt.streams.scrambled_text(texts, tokens, config.length, config.batch_size, seed=seed)
    return kt.streams.masked_text(texts, tokens, config.length, config.batch_size, pack=True, seed=seed)


def schedule(rate, steps):
    """Returns a rate that rises over a tenth of the steps and falls to 0 as a cosine."""
    warm = max(1, steps // 10)
    return keras.optimizers.schedules.CosineDecay(0.0, max(1, steps - warm), warmup_target=rate, warmup_steps=warm)


def pretrain(config, texts, tokens, seed):
    """Trains on nine tenths of the texts; returns what is found on the others, and the encoders before and after."""
    order = np.random.default_rng(seed).permutation(len(texts))
    tenth = max(1, len(order) // 10)
    train, held_out = texts[order[tenth:]], texts[order[:tenth]]
    encoder, model = build(config, tokens)
    before = kt.networks.copy_network(encoder)
    metrics = None if config.objective == "simcse" else [keras.metrics.SparseCategoricalAccuracy("accuracy")]
    model.compile(keras.optimizers.AdamW(schedule(config.learning_rate, config.steps)), weighted_metrics=metrics)
    shown = runs.progress(f"{config.objective}, seed {seed}", config.steps, "step")
    stream, start = stream_of(config, tokens, train, seed), time.perf_counter()
    history = model.fit(
        stream.repeat(), steps_per_epoch=config.steps, shuffle=False, verbose=0, callbacks=[shown]
    ).history
    found = {"seconds": time.perf_counter() - start, "training": {name: values[-1] for name, values in history.items()}}
    if metrics:
        measured = model.evaluate(stream_of(config, tokens, held_out, seed=0), verbose=0, return_dict=True)
        test = stream_of(config, tokens, held_out, seed=0)  # anew: another pass would hide other tokens
        found |= {"token_accuracy": measured["accuracy"], "perplexity": float(np.exp(measured["loss"]))}
        found |= copying(test) if config.objective == "denoising" else counting(config, tokens, train, test)
    return found, {"before": before, "after": encoder}


def counting(config, tokens, train, test):
    """Returns how often the most frequent token, and the most frequent one behind the token before, is the hidden one.

    The token before is the one that the encoder sees, which may be hidden too: then it is the most frequent one.
    """
    size, pairs = len(tokens.vocabulary), {}
    rows = [tokens.tokenize(list(train[i : i + 256])).to_list() for i in range(0, len(train), 256)]
    counts = np.zeros(size, int)
    for row in (row for part in rows for row in part):
        counts += np.bincount(row, minlength=size)
        for pair in zip(row, row[1:]):
            pairs[pair] = pairs.get(pair, 0) + 1
    counts[tokens.unknown_id] = 0
    follower = np.full(size, counts.argmax())
    best = np.zeros(size, int)
    for (first, second), number in pairs.items():
        if number > best[first] and second != tokens.unknown_id:
            best[first], follower[first] = number, second
    right, total = np.zeros(2), 0.0
    for x, y, weights in test.as_numpy_iterator():
        ids, positions = x["text"]["token_ids"], x["text"]["positions"]
        previous = np.take_along_axis(ids, np.maximum(positions - 1, 0), axis=1)
        for place, told in enumerate((np.full_like(y, counts.argmax()), follower[previous])):
            right[place] += ((told == y) * weights).sum()
        total += weights.sum()
    return dict(zip(("unigram_accuracy", "bigram_accuracy"), (right / total).tolist()))


def copying(test):
    """Returns how often the token in the same place of the scrambled text is the right one."""
    right = total = 0.0
    for x, y, weights in test.as_numpy_iterator():
        right += ((x["text"]["token_ids"][:, 1:] == y) * weights).sum()
        total += weights.sum()
    return {"copying_accuracy": float(right / total)}


def few_labels(config, tokens, encoder, data, seed, classes):
    """Returns the accuracy of a few labels on an encoder, and the precision of its nearest texts."""
    (x, y), (x_test, y_test) = data["train"], data["test"]
    rows = draw(y, max(2, config.labels // classes), seed)
    encode = of_strings(tokens, encoder)
    features = encode.predict(x_test, batch_size=64, verbose=0)
    found = {"precision_at_10": precision_at(features, y_test)}
    if config.encoder == "minilm":
        probe, _ = kt.metrics.tuned_probe(encode.predict(x[rows], batch_size=64, verbose=0), y[rows])
        return {**found, "accuracy": float(probe.score(features, y_test)), "rate": 0.0}
    padded = kt.layers.WordPiece(tokens.vocabulary, config.length, fixed_length=True)
    ids, tests = np.asarray(padded(x[rows])), np.asarray(padded(x_test))

    def accuracy(train, test, labels, rate):
        keras.utils.set_random_seed(seed)
        head = [keras.layers.Dropout(0.1), keras.layers.Dense(classes)]
        model = keras.Sequential([kt.networks.copy_network(encoder), *head])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.AdamW(schedule(rate, config.few_steps)), loss)
        stream = kt.streams.balanced(ids[train], y[rows][train], 32, config.few_steps, seed)
        model.fit(stream, shuffle=False, verbose=0)
        return float((model.predict(test, batch_size=64, verbose=0).argmax(-1) == labels).mean())

    part = np.arange(len(rows)) % 5 == 0  # chooses the rate, then trains too
    scores = {rate: accuracy(~part, ids[part], y[rows][part], rate) for rate in FEW_RATES}
    rate = max(scores, key=scores.get)
    return {**found, "accuracy": accuracy(part | ~part, tests, y_test, rate), "rate": rate}


def precision_at(features, labels, number=10):
    """Returns the share of the nearest other rows, by cosine, that have a row's own label."""
    rows = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    near = rows @ rows.T
    np.fill_diagonal(near, -np.inf)
    return float((labels[np.argpartition(-near, number, axis=1)[:, :number]] == labels[:, None]).mean())


def tf_idf(data, places):
    """Returns the regression on the tf-idf of words and word pairs by labelled texts, and the precision by tf-idf."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    (x, y), (x_test, y_test) = data["train"], data["test"]
    weigh = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(x)
    rows, tests = (weigh.transform(part).toarray().astype("float32") for part in (x[places], x_test))
    probe, _ = kt.metrics.tuned_probe(rows, y[places], penalties=(0.1, 1.0, 10.0, 100.0), standardise=False)
    return {"accuracy": float(probe.score(tests, y_test)), "precision_at_10": precision_at(tests, y_test), "rate": 0.0}


def main(config):
    """Pretrains with every seed, measures, draws, exports and verifies; returns the record."""
    if len(config.seeds) < 2:
        raise ValueError(f"Expected at least 2 seeds, for an interval; received {config.seeds}.")
    name = config.data if config.files is None else config.files[0].stem
    run = runs.Run(config, "pretrain_text", f"{name}_{config.objective}_{config.encoder}")
    texts, data, classes = load(config)
    tokens = word_pieces(config, texts)
    metrics, pretrained, kept = {}, {}, None
    for seed in config.seeds:
        found, networks = run.part(
            f"pretraining, seed {seed}", functools.partial(pretrain, config, texts, tokens, seed), seed
        )
        pretrained[seed], kept = found, kept or networks["after"]
        for arm, network in networks.items():
            compute = functools.partial(few_labels, config, tokens, network, data, seed, len(classes))
            metrics.setdefault(arm, {})[seed] = run.part(
                f"few labels {arm}, seed {seed}", lambda compute=compute: (compute(), {}), seed
            )[0]
        places = draw(data["train"][1], max(2, config.labels // len(classes)), seed)
        metrics.setdefault("tf_idf", {})[seed] = run.part(
            f"tf-idf, seed {seed}", lambda places=places: (tf_idf(data, places), {}), seed
        )[0]
        print(f"seed {seed}: {found}, { ({arm: of[seed] for arm, of in metrics.items()}) }", flush=True)
    means = {
        key: float(np.mean([one[key] for one in pretrained.values()]))
        for key, value in pretrained[config.seeds[0]].items()
        if key != "training"
    }
    extra = {"pretraining": pretrained, "pretraining_means": means, "classes": classes, "texts": len(texts)}
    report = kt.report.TransferReport(metrics, ["before", "tf_idf"], "accuracy", extra=extra)
    x_test, y_test = data["test"]
    model, shown = of_strings(tokens, kept), x_test[:400]
    figures = {"nearest": pictures.nearest_texts(shown, model.predict(shown, batch_size=64, verbose=0))}
    return run.finish(report, figures, model=model, x=shown[:16], metrics=means, tolerance=1e-4)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
