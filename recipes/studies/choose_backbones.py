"""Measures whether backbones can be chosen without training: LogME against fine-tuning, and what `choose` recommends.

    python -m keras_transfer.recipes.studies.choose_backbones --data art_painting

Each data set meets five backbones: MobileNet and EfficientNet-Lite0 from ImageNet, the lower half of the former, a
small CNN that has learned to read Greek and Cyrillic letters, and the same untrained. Of each draw of labels, every
backbone gets LogME and H-score, a tuned logistic regression on plain features and on views, and fine-tuning of its
upper part from the latter, each tested on pictures that nothing else sees.

The recommendation is made as `recipes/choose_backbone.py` makes it, from the labelled pictures alone: the backbones of
highest LogME, then the arm of theirs that tells most held-out pictures right. Its regret is what the best arm of all
has more in the test.

Reads data and weights from `KERAS_TRANSFER_DATA`. About 5 minutes for a data set on one core; measured numbers:
`results/choose_backbones/<data>.json`.
"""

import csv
import dataclasses
import functools
import math
import os
import pathlib
import statistics
import time
from typing import Literal

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure
from scipy import stats
from sklearn.model_selection import StratifiedKFold, train_test_split

import keras_transfer as kt
from keras_transfer.recipes import finetune_letters, runs
from keras_transfer.recipes.candidates import recommend, score, shortlist
from keras_transfer.recipes.finetune_photos import photographs

SIZE = 64
LETTERS = 2000  # Georgian ones
MODERN = [chr(code) for code in (*range(0x391, 0x3CA), *range(0x410, 0x450))]  # Greek and Cyrillic letters
DATA = ("art_painting", "cartoon", "office", "emoji", "svhn", "georgian")
UPPER = {  # what is fine-tuned: all above this layer
    "mobilenet": "conv_pw_6_relu",
    "mobilenet_half": "conv_pw_3_relu",
    "efficientnet_lite0": "_blocks.8._bn2",
    "letters": "images",
    "untrained": "images",
}
FAMILIES = ("probe", "probe_on_views", "fine_tuned")
RATES = {"letters": 3e-3, "untrained": 3e-3}  # of Adam, at the start of a cosine decay; of the others 3e-4


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal[DATA] = "art_painting"
    """Pictures to tell apart: domains of PACS, `amazon` of Office-31, emoji by their category, house numbers of SVHN,
    Georgian letters."""
    backbones: tuple[Literal[tuple(UPPER)], ...] = tuple(UPPER)
    """Backbones to choose from."""
    splits: tuple[int, ...] = (0, 1, 2)
    """Draws of the labels."""
    labels_per_class: int = 10
    """Labelled pictures of each class."""
    test_images: int = 600
    """Most pictures of the test, which is the same for all draws; at most half of all."""
    views: int = 8
    """Views of each labelled picture, itself among them."""
    steps: int = 60
    """Steps of fine-tuning."""
    batch_size: int = 16
    """Views in a step."""
    candidates: int = 2
    """Backbones that are trained, by LogME, for the recommendation."""
    folds: int = 3
    """Folds of the labelled pictures, by which arms are compared."""
    pretraining_images: int = 10_000
    """Pictures of letters that the small CNN learns from, four times over."""
    runs: pathlib.Path = pathlib.Path("runs/choose_backbones")
    """Folder in which each run makes a folder with its report and pictures."""
    results: pathlib.Path | None = None
    """Folder that also gets the record, as `<results>/choose_backbones/<data>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns pictures, uint8 (n, 64, 64, 3), and labels."""
    if config.data in kt.datasets.PACS_DOMAINS:
        return kt.datasets.pacs(config.data, SIZE)
    if config.data == "office":
        files = kt.datasets.image_files(_folder("office31", "amazon"), SIZE)
        return files[:], files.labels
    if config.data == "emoji":
        with open(_folder("emoji", "classes.csv"), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        paths = [_folder("emoji", "twitter", f"{row['id']}.png") for row in rows]
        labels = np.unique([row["category"] for row in rows], return_inverse=True)[1]
        return kt.datasets.ImageFiles(paths, image_size=SIZE)[:], labels
    if config.data == "svhn":
        with np.load(_folder("svhn", "svhn_crops_train.npz")) as file:
            images = keras.ops.image.resize(file["x"].astype("float32"), (SIZE, SIZE))
            return np.clip(np.asarray(images), 0, 255).astype("uint8"), file["y"] % 10
    return _letters(kt.datasets.script_letters("georgian"), LETTERS, 1)


def _folder(*names):
    return pathlib.Path(os.environ["KERAS_TRANSFER_DATA"], *names)


def _letters(letters, number, seed):
    images, labels, _, _ = kt.datasets.glyphs(letters, n=number, seed=seed, image_size=SIZE)
    return np.repeat(images, 3, axis=-1), labels


def pretrain(config):
    """Returns a small CNN that has learned to read Greek and Cyrillic letters."""
    every = kt.datasets.script_letters("greek") + kt.datasets.script_letters("cyrillic")
    letters = [letter for letter in every if letter in MODERN]
    images, labels = _letters(letters, config.pretraining_images, 0)
    encoder = kt.backbones.small_cnn((SIZE, SIZE, 3))
    model, steps = keras.Sequential([encoder, layers.Dense(len(letters))]), 4 * -(-len(images) // 32)
    finetune_letters.compile_model(model, keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)))
    model.fit(images, labels, batch_size=32, epochs=4, verbose=2)
    return encoder


def build(name, letters):
    """Returns a backbone in two parts: from pictures to maps, and what is fine-tuned, from these to features."""
    if name in ("letters", "untrained"):
        encoder = kt.backbones.small_cnn((SIZE, SIZE, 3))
        if name == "letters":
            encoder.set_weights(letters.get_weights())
    elif name == "efficientnet_lite0":
        network = keras.saving.load_model(_folder("weights", "efficientnet_lite0_notop.keras"), compile=False)
        encoder = keras.Model(network.input, layers.GlobalAveragePooling2D()(network.output))
    else:
        weights = _folder("weights", "mobilenet_v1_1.0_to_conv_pw_12.weights.h5")
        layer = "conv_pw_12_relu" if name == "mobilenet" else "conv_pw_6_relu"
        encoder = kt.backbones.from_applications("MobileNet", weights, (SIZE, SIZE, 3), layer=layer)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 128, -127 / 128)(inputs) if name == "efficientnet_lite0" else inputs
    cut = encoder.get_layer(UPPER[name]).output
    lower = keras.Model(inputs, x if UPPER[name] == "images" else keras.Model(encoder.input, cut)(x))
    upper = keras.Model(cut, encoder.output)
    return lower, upper


class Arms:
    """A backbone on one data set: its features, and its fine-tuning, which is compiled once for all draws."""

    def __init__(self, config, name, letters, classes):
        keras.utils.set_random_seed(0)
        self.lower, self.upper = build(name, letters)
        self.head = layers.Dense(classes, name="logits")
        self.model = keras.Sequential([self.upper, self.head])
        self.steps, self.batch_size, self.rate = config.steps, config.batch_size, RATES.get(name, 3e-4)
        self.model.build(self.upper.input_shape)
        kt.finetuning.freeze_batch_norm(self.model)  # so few steps would not follow other statistics
        adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(self.rate, self.steps))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(adam, loss)
        adam.build(self.model.trainable_variables)
        self.start = self.upper.get_weights()

    def maps(self, images):
        """Returns what the part that stays as it is makes of pictures."""
        return self.lower.predict(images, batch_size=64, verbose=0)

    def features(self, maps):
        """Returns the features of the pretrained backbone."""
        self.upper.set_weights(self.start)
        return self.upper.predict(maps, batch_size=64, verbose=0)

    def fine_tuned(self, maps, labels, probe, seed):
        """Returns the model, fine-tuned from the pretrained weights and a probe."""
        self.upper.set_weights(self.start)
        self.head.set_weights(kt.metrics.probe_head(probe).get_weights())
        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        rng, size = np.random.default_rng(seed), self.batch_size
        passes = math.ceil(self.steps * size / len(maps))
        rows = np.concatenate([rng.permutation(len(maps)) for _ in range(passes)])[: self.steps * size]
        for batch in rows.reshape(-1, size):
            self.model.train_on_batch(maps[batch], labels[batch])
        return self.model


def measure(config, arms, views, labels, test, seed, folds):
    """Returns what the arms of a backbone get in the test, and where there are folds on those held out."""
    number = len(labels)
    maps, start = arms.maps(views), time.perf_counter()
    features = arms.features(maps)
    found = {"test": {}, "seconds": {}, "held_out": dict.fromkeys(FAMILIES, 0.0) if folds else None}
    seconds = {"features": time.perf_counter() - start}

    def trained(places):
        """Yields what labelled pictures make of each family, as a function from maps and features to labels."""
        rows = (np.arange(config.views)[:, None] * number + places).ravel()
        plain = kt.metrics.tuned_probe(features[places], labels[places])[0]
        yield "probe", lambda maps, features: plain.predict(features)
        probe = kt.metrics.tuned_probe(features[rows], labels[places], config.views)[0]
        yield "probe_on_views", lambda maps, features: probe.predict(features)
        model = arms.fine_tuned(maps[rows], np.tile(labels[places], config.views), probe, seed)
        yield "fine_tuned", lambda maps, features: model.predict(maps, batch_size=64, verbose=0).argmax(-1)

    for train, held_out in folds:
        for family, answer in trained(train):
            right = (answer(maps[held_out], features[held_out]) == labels[held_out]).sum()
            found["held_out"][family] += float(right) / number
    test_maps, test_labels = test["maps"][arms], test["labels"]
    test_features, start = arms.features(test_maps), time.perf_counter()
    for family, answer in trained(np.arange(number)):
        seconds[family] = time.perf_counter() - start
        found["test"][family] = float((answer(test_maps, test_features) == test_labels).mean())
        start = time.perf_counter()
    return found | {"seconds": seconds}


def draw(config, data, split):
    """Returns the places of the labelled pictures, and those of the test, which are the same for all splits."""
    y = data[1]
    test = train_test_split(np.arange(len(y)), test_size=min(config.test_images, len(y) // 2), random_state=0)[1]
    rest, rng = np.setdiff1d(np.arange(len(y)), test), np.random.default_rng(split)
    few = [rng.permutation(rest[y[rest] == c])[: config.labels_per_class] for c in np.unique(y)]
    return np.concatenate(few), test


def compare(config, data, split, arms, test):
    """Returns of one draw of labels what all backbones score, what their arms get, and what is recommended."""
    x, y = data
    few, _ = draw(config, data, split)
    labels = y[few]
    found = {name: score(one.features(one.maps(x[few])), labels) for name, one in arms.items()}
    candidates = shortlist(found, config.candidates)
    views = finetune_letters.augment(
        config, x[few], split, finetune_letters.changes if config.data == "georgian" else photographs
    )
    folds = list(StratifiedKFold(config.folds, shuffle=True, random_state=split).split(few, labels))
    for name, one in arms.items():
        found[name] |= measure(config, one, views, labels, test, split, folds if name in candidates else [])
        told = ", ".join(f"{family} {value:.3f}" for family, value in found[name]["test"].items())
        print(f"{config.data}, split {split}, {name}: LogME {found[name]['log_me']:.3f}; {told}", flush=True)
    held_out = {f"{name}, {family}": found[name]["held_out"][family] for family in FAMILIES for name in candidates}
    return {"backbones": found, "candidates": candidates, "held_out": held_out, "recommended": recommend(held_out)}


def rank_correlation(first, second):
    """Returns Spearman's correlation; 0 where all numbers of one are equal, which rank nothing."""
    constant = len(set(first)) == 1 or len(set(second)) == 1
    return 0.0 if constant else float(stats.spearmanr(first, second).statistic)


def summarise(splits):
    """Returns means over draws, the rank correlations of scores and accuracies, and the regret of what is recommended.

    Args:
        splits: dict of what `compare` returned.

    Returns:
        Dict: `means`, `{backbone: {score or family: mean}}`; `spearman`, `{score: {family: correlation}}` of the means
        over draws; `best`, the arm of the highest mean; `regret`, mean of its accuracy minus that of the
        arm that each draw recommends; `regret_by_draw`, the same of the arm that the test of each draw likes best.
    """
    runs_ = list(splits.values())
    names = list(runs_[0]["backbones"])
    mean = {
        name: {
            **{key: statistics.mean(run["backbones"][name][key] for run in runs_) for key in ("log_me", "h_score")},
            **{family: statistics.mean(run["backbones"][name]["test"][family] for run in runs_) for family in FAMILIES},
        }
        for name in names
    }
    spearman = {
        key: {
            family: rank_correlation([mean[n][key] for n in names], [mean[n][family] for n in names])
            for family in FAMILIES
        }
        for key in ("log_me", "h_score")
    }
    arms = {f"{name}, {family}": mean[name][family] for name in names for family in FAMILIES}
    best = max(arms, key=arms.get)

    def test(run, arm):
        name, family = arm.split(", ")
        return run["backbones"][name]["test"][family]

    recommended = [test(run, run["recommended"]) for run in runs_]
    regret = statistics.mean(test(run, best) - value for run, value in zip(runs_, recommended))
    by_draw = statistics.mean(max(test(run, arm) for arm in arms) - value for run, value in zip(runs_, recommended))
    return {"means": mean, "spearman": spearman, "best": best, "regret": regret, "regret_by_draw": by_draw}


def main(config):
    """Measures all draws, reports and draws; returns the record."""
    run, data = runs.Run(config, "choose_backbones", config.data), load(config)
    x, y = data
    letters = run.part("pretraining", lambda: ({}, {"encoder": pretrain(config)}))[1]["encoder"]
    classes = len(np.unique(y))
    arms = {name: Arms(config, name, letters, classes) for name in config.backbones}
    _, places = draw(config, data, 0)
    test = {"labels": y[places], "maps": {one: one.maps(x[places]) for one in arms.values()}}
    splits = {}
    for split in config.splits:
        measured = functools.partial(compare, config, data, split, arms, test)
        splits[split] = run.part(f"split {split}", lambda measured=measured: (measured(), {}), split)[0]
    found = summarise(splits)
    text = [f"{config.data}: {len(y)} pictures, {classes} classes, {len(places)} in the test"]
    for name, mean in found["means"].items():
        text.append(f"  {name:<20}" + "".join(f"{key} {value:.3f}  " for key, value in mean.items()))
    text.append(f"Spearman of LogME with fine-tuning {found['spearman']['log_me']['fine_tuned']:.2f}")
    text.append(f"Best {found['best']}; recommended {[split['recommended'] for split in splits.values()]}")
    text.append(f"Regret {100 * found['regret']:.1f} points")
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    panel = figure.subplots()
    for name, mean in found["means"].items():
        panel.plot(mean["log_me"], 100 * mean["fine_tuned"], "o", label=name)
    panel.set(xlabel="LogME", ylabel="fine-tuned, accuracy in the test (%)", title=config.data)
    panel.legend(fontsize=8)
    return run.finish({"splits": splits, **found}, {"log_me": figure}, "\n".join(text))


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
