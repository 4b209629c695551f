"""Measures fine-tuning whose settings are chosen by cross-validation, on near and far domains and few to many labels.

    python -m keras_transfer.recipes.studies.tune_photos --data art_painting --weights <file of MobileNet>
    python -m keras_transfer.recipes.studies.tune_photos --data glyphs

`art_painting` (near) and `cartoon` (far from the photographs that the backbone knows) are of PACS, which is read from
`KERAS_TRANSFER_DATA`: MobileNet up to `conv_pw_12_relu`. `glyphs` are Georgian letters on a small
CNN that has learned to read Greek and Cyrillic. Each split draws its labels anew and is tested on all other images.

The baselines are logistic regressions with a penalty chosen by cross-validation, of the frozen features of the images
and of their views. Fixed strategies train a quarter or a half of the backbone (letters: two thirds or all) and stay
there, or go halfway back (`_interpolated`); `tuned` is what `kt.finetuning.tune` chooses, which sees the labelled
images alone. Measured numbers: `results/tune_photos/<data>_<labels>.json`. About a minute for each split on one core.
"""

import dataclasses
import functools
import pathlib
from typing import Literal

import keras

import keras_transfer as kt
from keras_transfer.recipes import finetune_letters, finetune_photos, pictures, runs
from keras_transfer.recipes.finetune_photos import BASELINES

# Chosen on splits from 100 with 10 labels: names of the depths, rates from which is chosen, steps, batch size.
PHOTOS = ({"half": 0.5, "quarter": 0.25}, (3e-4,), (100,), 16)
LETTERS = ({"all": 1.0, "two_thirds": 0.67}, (1e-2, 3e-3), (1000,), 32)
SETTINGS = {"glyphs": LETTERS, **dict.fromkeys(("art_painting", "cartoon", "photo"), PHOTOS)}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["art_painting", "cartoon", "photo", "glyphs"] = "glyphs"
    """The domain."""
    weights: pathlib.Path | None = None
    """File of MobileNet's weights for the domains of PACS; by default Keras downloads those of ImageNet."""
    labels_per_class: int = 10
    """Labelled images of each class."""
    splits: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """One draw of the labels for each; at least two, for an interval."""
    image_size: int = 96
    """Side in pixels that the pictures of PACS are reduced to."""
    views: int = 16
    """Views of each labelled image, the image itself among them; at most 3,000 in all."""
    pretraining_images: int = 20_000
    """Images of letters that the small CNN is pretrained on, five times over."""
    runs: pathlib.Path = pathlib.Path("runs/tune_photos")
    """Folder in which each run makes a folder with its config, report and pictures."""
    results: pathlib.Path | None = None
    """Folder that also gets the reports, as `<results>/tune_photos/<data>_<labels>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns images, labels, class names, the pretrained backbone and the layers that make a view."""
    if config.data == "glyphs":
        images, labels, names = finetune_letters.load()
        return images, labels, names, finetune_letters.pretrain(config), finetune_letters.changes
    images, labels = kt.datasets.pacs(config.data, config.image_size)
    weights, shape = config.weights or "imagenet", (config.image_size, config.image_size, 3)
    backbone = kt.backbones.from_applications("MobileNet", weights, shape, layer="conv_pw_12_relu")
    return images, labels, kt.datasets.PACS_CLASSES, backbone, finetune_photos.photographs


def measure(config, images, labels, few, rest, change, views, split, kept):
    """Returns `{arm: metrics}` of one split, the setting of `tuned`, and the scores by which it was chosen.

    `kept` are the backbone, what reaches its greatest depth of all images, and their features.
    """
    backbone, reached, features = kept
    depths, rates, steps, batch_size = SETTINGS[config.data]
    keras.utils.set_random_seed(split)
    options = {"views": views, "rates": rates, "steps": steps, "batch_size": batch_size, "seed": split}
    augment = keras.Sequential(change())
    tuned = kt.finetuning.tune(backbone, images[few], labels[few], augment, depths=tuple(depths.values()), **options)
    encoder, head = tuned.model.layers
    test = keras.Sequential([kt.finetuning.split(encoder, max(depths.values()))[1], head])

    def accuracy(weights):
        tuned.model.set_weights(weights)
        answers = test.predict(reached[rest], batch_size=128, verbose=0).argmax(-1)
        return {"accuracy": float((answers == labels[rest]).mean())}

    chosen = tuned.chosen
    arms = {"tuned": accuracy(tuned.model.get_weights())}
    for arm, probe in BASELINES.items():
        arms[arm] = {"accuracy": float(tuned.probes[probe].score(features[rest], labels[rest]))}
    for name, depth in depths.items():
        ends = tuned.ends if depth == chosen.depth else tuned.fit(chosen._replace(depth=depth))
        arms[name] = accuracy(ends[1])
        arms[f"{name}_interpolated"] = accuracy(kt.finetuning.interpolate(*ends, 0.5))
    scores = [[*setting, score] for setting, score in tuned.scores.items()]
    told = {**chosen._asdict(), "began": tuned.began, "seconds": tuned.seconds}
    return {"arms": arms, "chosen": told, "scores": scores}


def main(config):
    """Measures every strategy over the splits, reports and draws; returns the report's dict."""
    if len(config.splits) < 2:
        raise ValueError(f"Expected at least 2 splits for an interval; received {config.splits}.")
    run = runs.Run(config, "tune_photos", f"{config.data}_{config.labels_per_class}")
    images, labels, _, backbone, change = load(config)
    lower, upper = kt.finetuning.split(backbone, max(SETTINGS[config.data][0].values()))
    reached = images if lower is None else lower.predict(images, batch_size=64, verbose=0)
    kept = backbone, reached, upper.predict(reached, batch_size=128, verbose=0)
    metrics, chosen, shown = {}, {}, None
    for split in config.splits:
        few, rest = finetune_letters.draw_split(config.labels_per_class, labels, split)
        views = max(2, min(config.views, 3000 // len(few)))
        shown = shown or {"labelled": images[few], "test": images[rest]}
        compute = functools.partial(measure, config, images, labels, few, rest, change, views, split, kept)
        found = run.part(f"split {split}", lambda compute=compute: (compute(), {}), split)[0]
        chosen[split] = {"setting": found["chosen"], "scores": found["scores"]}
        for arm, measured in found["arms"].items():
            metrics.setdefault(arm, {})[split] = measured
        told = ", ".join(f"{arm} {measured['accuracy']:.3f}" for arm, measured in found["arms"].items())
        print(f"split {split}: {told}; {found['chosen']}", flush=True)
    metrics = {arm: metrics[arm] for arm in (*BASELINES, "tuned", *(arm for arm in metrics if arm not in BASELINES))}
    report = kt.report.TransferReport(metrics, tuple(BASELINES), "accuracy", {"chosen": chosen})
    return run.finish(report, {"samples": pictures.samples(shown)})


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
