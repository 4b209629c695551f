"""Classifies texts from a few labels, or from none: what each way is worth on yours; exports strings to classes.

    python -m keras_transfer.recipes.classify_text
    python -m keras_transfer.recipes.classify_text --data trec --labels 8
    python -m keras_transfer.recipes.classify_text --csv tickets.csv --text body --label queue

By default the texts are what functions of installed packages say of themselves, and the class is the package. `trec`:
six kinds of questions; `sst2`: sentiment of film reviews; `emotion`: four emotions of tweets, told by macro-F1; they
read `KERAS_TRANSFER_DATA`. With the extra `text` the encoder is all-MiniLM-L6-v2, two to four minutes for a draw of
labels on one core; without it a new one, `scratch`, stands alone beside `tf_idf`. Measured numbers:
`results/classify_text/<case>.json`.

Of each draw as many texts of each class have labels. Baselines: `tf_idf`, a regression on words and word pairs;
`frozen`, one on MiniLM's features; both with the penalty that cross-validation on the labels chooses. `setfit` tunes
the encoder by contrasts, `lora` and `full` train it beneath the head of `frozen`, all with the same steps. Without a
label: `names`, the names of the classes, and `descriptions`, three texts of each (`recipes/class_texts.py`, or
`--descriptions FILE`). Texts of the test that are among those to train on are left out.
"""

import dataclasses
import functools
import json
import pathlib
import time
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import class_texts, few_labels, own_texts, pictures, runs
from keras_transfer.recipes.pretrain_text import schedule

ARMS = ("tf_idf", "scratch", "frozen", "names", "descriptions", "setfit", "lora", "full")
PRETRAINED = ("frozen", "names", "descriptions", "setfit", "lora", "full")
BASELINES = ("tf_idf", "scratch", "frozen", "names")
LORA = ".*(query|value)"  # of each block's attention, as in the paper


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal[own_texts.DATA] = "docstrings"
    """What is classified."""
    csv: pathlib.Path | None = None
    """CSV file of your own in place of that; a fifth of its rows is the test."""
    text: str = "text"
    """Its column of texts."""
    label: str = "label"
    """Its column of labels."""
    descriptions: pathlib.Path | None = None
    """JSON file of your own with a list of texts for each class, `{"class": ["...", "..."]}`."""
    labels: int = 8
    """Labelled texts of each class."""
    arms: tuple[Literal[ARMS], ...] = ARMS
    """What is tried; a baseline among it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of the labels and one training of every arm for each; at least two, for an interval."""
    length: int = 48
    """Tokens of a text; what follows is cut off, and such texts are counted."""
    steps: int = 40
    """Training steps of `setfit`, `lora` and `full`."""
    batch_size: int = 36
    """Texts in a step, as many of each class."""
    learning_rate: float = 5e-5
    """The highest rate of AdamW, after a tenth of the steps; then it falls to 0 as a cosine."""
    lora_rate: float = 5e-3
    """The same of `lora`."""
    full_rate: float = 1e-4
    """The same of `full`."""
    temperature: float = 0.1
    """Of the contrasts of `setfit`."""
    scratch_steps: int = 150
    """Training steps of `scratch`."""
    test: Literal["test", "train"] = "test"
    """`train`: told on 1,000 texts to train on that have no label, to choose settings by."""
    runs: pathlib.Path = pathlib.Path("runs/classify_text")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/classify_text/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/classify_text/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns the texts with their labels, to train on and to test, and the names of the classes."""
    data, classes = own_texts.load(config.data, config.csv, config.text, config.label)
    if config.test == "train":
        order = np.random.default_rng(1).permutation(len(data["train"][1]))
        parts = {"test": order[:1000], "train": order[1000:]}
        data = {name: tuple(column[rows] for column in data["train"]) for name, rows in parts.items()}
    return data, classes


def texts_of(config, classes):
    """Returns the names of the classes, and what is said of each, `{class: texts}`; None where nothing is."""
    names = {one: [class_texts.NAMES.get(config.data, {}).get(one, one)] for one in classes}
    if config.descriptions is not None:
        said = json.loads(config.descriptions.read_text("utf-8"))
    else:
        said = class_texts.DESCRIPTIONS[config.data] if config.csv is None else None
    if said is not None and list(said) != list(classes):
        raise ValueError(f"Expected descriptions of the classes {list(classes)}, in this order; received {list(said)}.")
    return {"names": names, "descriptions": said}


def minilm(config):
    """Returns all-MiniLM-L6-v2 with its embedding of tokens frozen, or None without the extra."""
    try:
        encoder = kt.backbones.minilm(config.length)
    except ImportError as error:
        print(f"{error}. A new encoder stands alone.", flush=True)
        return None
    kt.finetuning.train_only(encoder, "(?!.*token_embedding).*")
    return encoder


def predict(network, texts):
    """Returns what a network answers to texts."""
    return network.predict(texts, batch_size=64, verbose=0)


def measured(answers, labels, start):
    """Returns the metrics of an arm."""
    from sklearn.metrics import f1_score

    return {
        "accuracy": float((answers == labels).mean()),
        "macro_f1": float(f1_score(labels, answers, average="macro", zero_division=0)),
        "seconds": time.perf_counter() - start,
    }


def words(config, few, test, classes):
    """Trains the regression on the tf-idf of words and word pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weigh = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(few[0])
    rows, tests = (weigh.transform(part[0]).toarray().astype("float32") for part in (few, test))
    probe, _ = kt.metrics.tuned_probe(rows, few[1], penalties=(0.1, 1.0, 10.0, 100.0, 1000.0), standardise=False)
    return probe.predict(tests), {}


def scratch(config, few, test, classes, seed):
    """Trains a new encoder of words on the labels alone."""
    tokenize = layers.TextVectorization(8000, output_sequence_length=config.length)
    tokenize.adapt(list(few[0]))
    encoder = kt.backbones.small_transformer(tokenize.vocabulary_size(), config.length, dropout=0.1)
    model = keras.Sequential([encoder, layers.Dropout(0.2), layers.Dense(classes)])
    fit(config, model, np.asarray(tokenize(list(few[0]))), few[1], 1e-3, seed, config.scratch_steps)
    text = keras.Input((), dtype="string", name="text")
    model = keras.Model(text, model(tokenize(text)))
    return predict(model, test[0]).argmax(-1), {"model": model}


def fit(config, model, x, y, rate, seed, steps=None):
    """Trains a classifier on batches with as many rows of each class."""
    steps = steps or config.steps
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(schedule(rate, steps)), loss)
    size = max(config.batch_size, 2 * len(np.unique(y)))
    model.fit(kt.streams.balanced(x, y, size, steps, seed), shuffle=False, verbose=0)


def frozen(encoder, few, test):
    """Fits the regression on features; returns its answers, and it."""
    probe, _ = kt.metrics.tuned_probe(predict(encoder, few[0]), few[1])
    return probe.predict(predict(encoder, test[0])), probe


def described(encoder, said, test):
    """Tells classes by what is said of them."""
    model = kt.models.LabelDescriptions(encoder, said)
    model.calibrate()
    return predict(model, test[0]).argmax(-1), {"model": model}


def setfit(config, few, test, classes, seed):
    """Tunes the encoder by contrasts, and sets the head."""
    model = kt.models.SetFit(minilm(config), classes, config.temperature)
    model.compile(keras.optimizers.AdamW(schedule(config.learning_rate, config.steps)))
    size = max(config.batch_size, 2 * classes)
    model.fit(kt.streams.balanced(*few, size, config.steps, seed, stream="text"), shuffle=False, verbose=0)
    model.calibrate(*few)
    return predict(model, test[0]).argmax(-1), {"model": model}


def tuned(config, encoder, few, test, rate, seed, low_rank):
    """Trains the encoder beneath the head of the regression: all of it, or LoRA on its attention."""
    head = kt.metrics.probe_head(kt.metrics.tuned_probe(predict(encoder, few[0]), few[1])[0])
    text = keras.Input((), dtype="string", name="text")
    model = keras.Model(text, head(minilm(config)(text)))
    if low_rank:
        kt.finetuning.lora.attach(model, rank=8, layers=LORA, also_train=".*logits")
    fit(config, model, *few, rate, seed)
    return predict(model, test[0]).argmax(-1), {}


def learn(config, arm, seed, encoder, data, classes, said):
    """Trains one arm on one draw; returns its metrics, and its model where it is kept."""
    rows = few_labels.draw(data["train"][1], config.labels, seed)
    few, test = (data["train"][0][rows], data["train"][1][rows]), data["test"]
    made = {
        "tf_idf": lambda: words(config, few, test, classes),
        "scratch": lambda: scratch(config, few, test, classes, seed),
        "frozen": lambda: (frozen(encoder, few, test)[0], {}),
        "names": lambda: described(encoder, said["names"], test),
        "descriptions": lambda: described(encoder, said["descriptions"], test),
        "setfit": lambda: setfit(config, few, test, classes, seed),
        "lora": lambda: tuned(config, encoder, few, test, config.lora_rate, seed, True),
        "full": lambda: tuned(config, encoder, few, test, config.full_rate, seed, False),
    }
    start = time.perf_counter()
    answers, networks = made[arm]()
    kept = seed == config.seeds[0] and arm in ("scratch", "setfit")
    return {**measured(answers, test[1], start), "answers": answers.tolist()}, networks if kept else {}


def main(config):
    """Runs every arm on every draw, reports, draws, exports and verifies; returns the record."""
    if len(config.seeds) < 2 or not set(config.arms) & set(BASELINES) or not set(config.arms) - set(BASELINES[:3]):
        raise ValueError(
            "Expected at least 2 seeds, a baseline and something to hold against it; received "
            f"{config.seeds} and {config.arms}."
        )
    data, classes = load(config)
    name = config.data if config.csv is None else config.csv.stem
    run = runs.Run(config, "classify_text", f"{name}_{config.labels}")
    said, encoder = texts_of(config, classes), minilm(config)
    arms = [arm for arm in config.arms if encoder is not None or arm not in PRETRAINED]
    arms = [arm for arm in arms if arm != "descriptions" or said["descriptions"]]
    long = 0 if encoder is None else int(encoder.get_layer("word_pieces").too_long(data["test"][0]).sum())
    print(
        f"{long} of {len(data['test'][0])} texts of the test are longer than {config.length} tokens, and cut.",
        flush=True,
    )
    metrics, answers, models = {}, {}, {}
    for seed in config.seeds:
        for arm in arms:
            compute = functools.partial(learn, config, arm, seed, encoder, data, len(classes), said)
            found, networks = run.part(f"{arm}, seed {seed}", compute, seed)
            answers.setdefault(arm, found.pop("answers"))
            metrics.setdefault(arm, {})[seed] = found
            models |= {arm: networks["model"]} if networks else {}
            print(f"seed {seed}, {arm}: {found}", flush=True)
    metric = "macro_f1" if config.data == "emotion" and config.csv is None else "accuracy"
    baselines = [arm for arm in BASELINES if arm in arms]
    extra = {"classes": classes, "test": len(data["test"][0]), "longer": long}
    if len(baselines) == len(arms):  # no pretrained encoder: the words alone are held against
        baselines = baselines[:1]
    margin = 0.01 if metric == "macro_f1" else None
    report = kt.report.TransferReport(metrics, baselines, metric, extra=extra, margin=margin)
    x, y = data["test"]
    shown = [arm for arm in ("frozen", "setfit", "descriptions", *arms) if arm in arms][:3]
    figures = {
        "confusion": pictures.confusion(y, {arm: np.array(answers[arm]) for arm in dict.fromkeys(shown)}, classes)
    }
    if encoder is not None:
        figures["nearest"] = pictures.nearest_texts(x[:400], predict(encoder, x[:400]))
    arm = "setfit" if "setfit" in models else "scratch" if "scratch" in models else None
    export = {} if arm is None else {"model": models[arm], "x": x[:16], "classes": classes}
    if arm is not None:
        export["metrics"] = metrics[arm][config.seeds[0]]
    return run.finish(report, figures, tolerance=1e-4, **export)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
