"""Adapts the upper blocks of a pretrained backbone between domains of PACS, beside its features as they are.

    python -m keras_transfer.recipes.studies.adapt_blocks --weights <file of MobileNet>

MobileNet up to `conv_pw_12_relu`, with weights of ImageNet. What lies below its upper quarter runs once over all
pictures; above, all weights train (`blocks`), or none, and a small network learns on the features (`features`), as
`recipes/adapt_photos.py` does. Both with and without MCC on the target's predictions. In `blocks` each domain passes by
itself, so that BatchNormalization standardises it by its own statistics, which is also what the served network gets for
the target. A fifth of the source is held out; all of the target is adapted to without labels, and its labels are the
test. PACS is read from `KERAS_TRANSFER_DATA`. Measured numbers: `results/adapt_blocks/pacs.json`; how the rate was
chosen: `selection.json` there. About 15 minutes on one core.
"""

import dataclasses
import functools
import itertools
import pathlib
import time

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import domains, pictures, runs
from keras_transfer.recipes.studies.adapt_domains import pair_of

ARMS = ("features", "features_mcc", "blocks", "blocks_mcc")
DEPTH = 0.25


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    weights: pathlib.Path | None = None
    """File of MobileNet's weights; by default Keras downloads those of ImageNet."""
    source: str = "photo"
    """Domain with labels."""
    targets: tuple[str, ...] = ("art_painting", "cartoon")
    """Domains to adapt to, each by itself."""
    arms: tuple[str, ...] = ARMS
    """What is trained."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of every arm for each; at least two, for an interval."""
    image_size: int = 96
    """Side in pixels that the pictures are reduced to."""
    steps: int = 400
    """Training steps on features, rounded up to whole epochs."""
    block_steps: int = 150
    """Training steps of blocks."""
    batch_size: int = 64
    """Pictures of the source, and as many of the target, in a step on features."""
    block_batch_size: int = 32
    """The same of blocks."""
    learning_rate: float = 1e-3
    """The learning rate of Adam on features at the start of a cosine decay to 0."""
    block_rate: float = 3e-3
    """The same of blocks."""
    ramp: float = 0.4
    """Share of the steps in which the weight of the adaptation rises."""
    runs: pathlib.Path = pathlib.Path("runs/adapt_blocks")
    """Folder in which each run makes a folder with its report and pictures."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/adapt_blocks/pacs.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `{domain: (what reaches the upper blocks, labels)}` and these blocks, up to features."""
    shape = (config.image_size, config.image_size, 3)
    backbone = kt.backbones.from_applications("MobileNet", config.weights or "imagenet", shape, layer="conv_pw_12_relu")
    lower, upper = kt.finetuning.split(backbone, DEPTH)
    found = {}
    for name in (config.source, *config.targets):
        images, labels = kt.datasets.pacs(name, config.image_size)
        found[name] = lower.predict(images, batch_size=64, verbose=0), labels
    return found, upper


def train_blocks(config, seed, data, upper, classes, terms):
    """Trains copies of the blocks and a small network behind them; returns an `Arm`."""
    keras.utils.set_random_seed(seed)
    size, rows = config.block_batch_size, {name: data[name].rows for name in ("source", "target")}
    labelled = rows["source"], data["source"].labels
    stream = kt.streams.domains(labelled, rows["target"], size, classes=classes, seed=seed)
    standardised = layers.BatchNormalization(center=False, scale=False, momentum=0.9)
    parts = [kt.networks.copy_network(upper), standardised, layers.Dropout(0.5), layers.Dense(256, activation="relu")]
    encoder = domains.chain(rows["source"].shape[1:], *parts)
    head = domains.chain((256,), layers.Dense(classes))
    ramp = kt.schedules.DannRamp(config.ramp * config.block_steps)
    model = kt.models.TargetTerms(encoder, head, {"mcc": (kt.losses.MCC(), ramp)} if terms else None, passes="separate")
    rate = keras.optimizers.schedules.CosineDecay(config.block_rate, config.block_steps)
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    shown = runs.progress(f"blocks, seed {seed}", 1)
    model.fit(stream.repeat(), steps_per_epoch=config.block_steps, verbose=0, shuffle=False, callbacks=[shown])
    return domains.Arm(*(kt.models.adabn(encoder, rows[name], size) for name in ("source", "target")), head)


def measure(config, arm, seed, data, upper, classes):
    """Returns the metrics of an arm on a seed."""
    start, terms = time.perf_counter(), arm.endswith("_mcc")
    if arm.startswith("blocks"):
        trained = train_blocks(config, seed, data, upper, classes, terms)
        return domains.test(trained, data, time.perf_counter() - start)[0]
    features = {name: of._replace(rows=domains.predict(upper, of.rows)) for name, of in data.items()}
    trained, _ = domains.train(config, "mcc" if terms else "source_only", seed, features, classes, frozen=True)
    return domains.test(trained, features, time.perf_counter() - start)[0]


def main(config, load=load):
    """Runs every target of what `load` returns, reports and draws; returns the record."""
    if len(config.seeds) < 2 or not set(config.arms) <= set(ARMS):
        raise ValueError(f"Expected at least 2 seeds, and arms among {ARMS}; received {config.seeds}, {config.arms}.")
    run, (found, upper), reports = runs.Run(config, "adapt_blocks", "pacs"), load(config), {}
    classes = len(kt.datasets.PACS_CLASSES)
    for target in config.targets:
        data, metrics, pair = pair_of(found[config.source], found[target]), {}, f"{config.source}_{target}"
        for arm, seed in itertools.product(config.arms, config.seeds):
            compute = functools.partial(measure, config, arm, seed, data, upper, classes)
            one = run.part(f"{pair}, {arm}, seed {seed}", lambda compute=compute: (compute(), {}), seed)[0]
            metrics.setdefault(arm, {})[seed] = one
        report = kt.report.TransferReport(metrics, config.arms[0])
        reports[pair] = report.to_dict()
        print(f"{pair}\n{report}", flush=True)
    every = reports.values()
    means = {arm: float(np.mean([r["means"][arm]["target_accuracy"] for r in every])) for arm in config.arms}
    text = "\n".join(f"{arm:28}{100 * accuracy:.1f}" for arm, accuracy in means.items())
    accuracies = {
        arm: {pair: [one["target_accuracy"] for one in r["runs"][arm].values()] for pair, r in reports.items()}
        for arm in config.arms
    }
    return run.finish({"reports": reports, "means": means}, {"accuracies": pictures.accuracies(accuracies)}, text)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
