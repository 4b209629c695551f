"""Measures what colours in two views are worth: SimCLR with and without them, on small pictures of three domains.

    python -m keras_transfer.recipes.studies.pretrain_colours

PACS, photographs, cartoons and paintings, which is not downloaded: see `kt.datasets.pacs`. In about 15 minutes on one
core.

One encoder for each seed learns from the pictures of all domains without labels. Then, in each domain by itself, a
logistic regression of its features, whose penalty is chosen by cross-validation. Beside it the same encoder untrained,
the one that learned from crops and mirroring alone, and a regression of the pixels. Half of the pictures of each class
test; neither the pretraining nor anything that chooses sees them. `--held-out validation` tests on a quarter of the
others instead, for choosing settings. Measured numbers: `results/pretrain_colours/`.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.recipes import pictures, runs
from keras_transfer.recipes.pretrain_images import build_encoder, compile_model, mlp

DOMAINS = ("photo", "cartoon", "art_painting")
ARMS = ("contrastive_views", "crops", "random", "pixels")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    image_size: int = 32
    """Side in pixels that pictures are reduced to."""
    held_out: Literal["test", "validation"] = "test"
    """What is tested on: half of the pictures, or a quarter of the other half, to choose settings."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One encoder of each kind for each; at least two, for an interval."""
    epochs: int = 40
    """Passes over the unlabelled pictures."""
    batch_size: int = 256
    """Pictures in a step, two views of each."""
    learning_rate: float = 2e-3
    """The learning rate of AdamW after a twentieth of the steps, before a cosine decay to 0."""
    weight_decay: float = 1e-4
    """The weight decay of AdamW."""
    temperature: float = 0.5
    """The temperature of SimCLR."""
    least: float = 0.2
    """The least share of a picture that a view shows."""
    strength: float = 0.5
    """How much colours change, see `kt.layers.contrastive_views`."""
    runs: pathlib.Path = pathlib.Path("runs/pretrain_colours")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/pretrain_colours/pacs.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `{domain: {part: (images, labels)}}` of the parts `train` and `test`, which is what is held out."""
    return {domain: parts(config, *kt.datasets.pacs(domain, config.image_size)) for domain in DOMAINS}


def parts(config, images, labels):
    """Splits the pictures of each class, always alike: `{"train": (images, labels), "test": (images, labels)}`."""
    from sklearn.model_selection import train_test_split

    places = np.arange(len(labels))
    train, test = train_test_split(places, test_size=0.5, random_state=0, stratify=labels)
    if config.held_out == "validation":
        train, test = train_test_split(train, test_size=0.25, random_state=0, stratify=labels[train])
    return {part: (images[rows], labels[rows]) for part, rows in (("train", train), ("test", test))}


def augmentation(config, arm):
    """Returns the layers that make a view for an arm."""
    strength = config.strength if arm == "contrastive_views" else 0.0
    return kt.layers.contrastive_views(config.image_size, scale=(config.least, 1.0), strength=strength)


def views_per_second(config, arm, images, batches=10):
    """Returns how many views an arm's augmentation makes in a second of processor time, in a traced function."""
    augment = tf.function(augmentation(config, arm))
    rows = tf.constant(images[: config.batch_size])
    augment(rows)
    start = time.process_time()
    for _ in range(batches):
        augment(rows)
    return batches * len(rows) / (time.process_time() - start)


def pretrain(config, arm, seed, images):
    """Trains SimCLR; returns the encoder, the history and the seconds."""
    encoder = build_encoder(images.shape[1:])
    model = kt.models.SimCLR(encoder, mlp(encoder.output_shape[-1], 256, 128), config.temperature)
    augment = augmentation(config, arm)
    stream = kt.streams.views(images, augment, config.batch_size, seed=seed)
    compile_model(config, model, config.epochs * len(stream))
    watched = dict(zip(("view_1", "view_2"), (augment(images[:500]).numpy() for _ in range(2))))
    callbacks = [kt.callbacks.CollapseMonitor(watched), keras.callbacks.TerminateOnNaN(raise_error=True)]
    callbacks.append(runs.progress(f"{arm}, seed {seed}", config.epochs))
    start = time.perf_counter()
    history = model.fit(stream, epochs=config.epochs, shuffle=False, verbose=0, callbacks=callbacks).history
    return encoder, history, time.perf_counter() - start


def probe(data, read):
    """Returns the accuracy of the tuned probe in each domain and their mean; `read` goes from images to features."""
    found, penalties = {}, {}
    for domain, held in data.items():
        (train, labels), (test, test_labels) = held["train"], held["test"]
        classifier, scores = kt.metrics.tuned_probe(read(train), labels)
        found[f"{domain}_accuracy"] = float(classifier.score(read(test), test_labels))
        penalties[domain] = max(scores, key=scores.get)
    return {"accuracy": float(np.mean(list(found.values()))), **found}, penalties


def reports(found):
    """Returns the report of the pretrained encoders over each baseline; crops alone are the last one of them."""
    baselines = {"random": ARMS[:2], "pixels": ARMS[:2], "crops": ARMS[:1]}
    return {
        baseline: kt.report.TransferReport({arm: found[arm] for arm in (baseline, *methods)}, baseline, "accuracy")
        for baseline, methods in baselines.items()
    }


def main(config):
    """Pretrains, probes and draws; returns the record."""
    run, data = runs.Run(config, "pretrain_colours", "pacs"), load(config)
    unlabelled = np.concatenate([held["train"][0] for held in data.values()])
    found, penalties, histories, seconds = {}, {}, {}, {}

    def measure(arm, seed):
        history, took = None, None
        if arm in ("pixels", "random"):
            encoder = build_encoder(unlabelled.shape[1:])
        else:
            encoder, history, took = pretrain(config, arm, seed, unlabelled)

        def read(images):
            if arm == "pixels":
                return images.reshape(len(images), -1) / np.float32(255)
            return encoder.predict(images, batch_size=500, verbose=0)

        accuracies, chosen = probe(data, read)
        networks = {} if history is None else {"encoder": encoder}
        return {"accuracies": accuracies, "penalties": chosen, "history": history, "seconds": took}, networks

    for seed in config.seeds:
        for arm in ARMS:
            one, _ = run.part(f"{arm}, seed {seed}", functools.partial(measure, arm, seed), seed)
            found.setdefault(arm, {})[seed] = one["accuracies"]
            penalties.setdefault(arm, {})[seed] = one["penalties"]
            if one["history"] is not None:
                histories.setdefault(arm, []).append(one["history"])
                seconds.setdefault(arm, {})[seed] = one["seconds"]
            print(f"seed {seed}, {arm}: {one['accuracies']}", flush=True)
    shown = unlabelled[np.random.default_rng(0).permutation(len(unlabelled))[:48]]
    views = {arm: np.clip(augmentation(config, arm)(shown).numpy(), 0, 255).astype("uint8") for arm in ARMS[:2]}
    figures = {"views": pictures.samples({"images": shown, **views}), "curves": pictures.curves(histories)}
    record = {"accuracies": found, "penalties": penalties, "seconds": seconds, "histories": histories}
    record["views_per_second"] = {arm: views_per_second(config, arm, unlabelled) for arm in ARMS[:2]}
    record["pictures"] = {part: sum(len(held[part][0]) for held in data.values()) for part in ("train", "test")}
    compared = reports(found) if len(config.seeds) > 1 else {}
    record["reports"] = {baseline: report.to_dict() for baseline, report in compared.items()}
    return run.finish(record, figures, "\n\n".join(map(str, compared.values())))


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
