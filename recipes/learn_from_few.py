"""Few labels and many more pictures, or texts, without any: what each stage is worth on yours, and where to stop.

    python -m keras_transfer.recipes.learn_from_few
    python -m keras_transfer.recipes.learn_from_few --data mnist --stages semi --methods fixmatch mean_teacher
    python -m keras_transfer.recipes.learn_from_few --images photos --backbone applications:MobileNetV2

Nothing is downloaded by default: rendered letters, 10 labels of each class, the rest without. `--stages`, any of them:
`pretrain` learns an encoder by SimCLR, `fine_tune` trains it from a regression on its features (LP-FT), `semi` lets the
rows without a label help, `distil` puts what was found into a student of less than a quarter of the parameters. Each
stage is held against the one before and against the `twin`, which has the labels alone, with the same network, weak
views, steps, rate and average of weights, on the same draws of labels; `probe` is the regression on pretrained
features, its penalty chosen by cross-validation on the labels. No other label chooses anything.

Of your own pictures, of PACS's paintings (`pacs`, which reads `KERAS_TRANSFER_DATA`) and of texts the features of a
pretrained network are kept, of each row and of some views of it; one layer trains on them, and nothing is pretrained or
distilled. About 40 minutes for letters on one core, 75 for Fashion-MNIST, 10 for PACS. Measured numbers:
`results/learn_from_few/<case>.json`.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import few_and_many, few_labels, pictures, pretrain_images, runs
from keras_transfer.recipes.pretrain_images import build_encoder, mlp

STAGES = ("pretrain", "fine_tune", "semi", "distil")
LOGGED = ("share_sure", "pseudo_label_entropy", "agreement", "task_term")
RATIO, EPOCH = 4, 100  # unlabelled rows for each labelled one; steps of what `fit` calls an epoch
AVERAGE, MARGIN = 0.99, 0.01  # what averages of weights keep; a difference of accuracies that counts as none
METHODS = ("fixmatch", "mean_teacher", "pseudo_label", "pi_model", "mixmatch")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal[few_and_many.DATA] = "glyphs"
    """What is learned."""
    images: pathlib.Path | None = None
    """Your own pictures in place of that: a folder of class folders, and `unlabelled/` beside them."""
    texts: pathlib.Path | None = None
    """Your own texts: a CSV file with the columns `text` and `label`, which is empty where there is none."""
    backbone: str = "small_cnn"
    """The pretrained network of your own pictures and of `pacs`, which stays as it is."""
    image_size: int = 128
    """Side of your own pictures and of `pacs` in pixels."""
    stages: tuple[Literal[STAGES], ...] = STAGES
    """What is done, in this order."""
    methods: tuple[Literal[METHODS], ...] = ("fixmatch",)
    """Methods of the stage `semi`; the first is distilled."""
    labels: int = 10
    """Labelled rows of each class."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of the labels for each, and one training of every stage behind `pretrain`; at least two."""
    epochs: int = 40
    """Passes of `pretrain` over all pictures."""
    steps: int = 1800
    """Training steps of every other stage, and of the twin."""
    learning_rate: float = 2e-3
    """Of Adam from new weights, at the start of a cosine decay to 0; a quarter of it from pretrained ones."""
    runs: pathlib.Path = pathlib.Path("runs/learn_from_few")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_from_few/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/learn_from_few/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def pretrain(config, images, augment):
    """Learns an encoder by SimCLR on all pictures, without a label; returns what was found, and the encoder."""
    encoder = build_encoder(images.shape[1:], momentum=0.9)
    model = kt.models.SimCLR(encoder, mlp(encoder.output_shape[-1], 256, 128), temperature=0.5)
    stream = kt.streams.views(images, augment, 256, seed=0)
    pretrain_images.compile_model(pretrain_images.Config(), model, config.epochs * len(stream))
    shown = runs.progress(f"pretrain on {len(images)} pictures", config.epochs)
    history = model.fit(stream, epochs=config.epochs, shuffle=False, verbose=0, callbacks=[shown]).history
    return {"contrast": history["contrast_term"]}, {"encoder": encoder}


def compiled(model, rate, steps, average=False):
    """Returns a model compiled with Adam, whose rate falls to 0 as a cosine; `average`: of its weights, for a twin."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.Adam(schedule, use_ema=average, ema_momentum=AVERAGE)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def fit(config, model, stream, title):
    """Trains for the steps of the settings, and warns where pseudo-labels gather in few classes."""
    epochs = -(-config.steps // len(stream))
    shown = [runs.progress(title, epochs), kt.callbacks.ConfirmationMonitor()]
    return model.fit(stream, epochs=epochs, shuffle=False, verbose=0, callbacks=shown).history


def rows_in_batch(config, data):
    """Returns the labelled rows of a step, as many of each class."""
    return data.classes * max(2, 20 // data.classes)


def supervised(config, data, network, few, rate, title):
    """Trains a classifier on the labels alone, with the weak augmentation; serves the average of its weights."""
    size, steps = rows_in_batch(config, data), min(config.steps, EPOCH)
    stream = kt.streams.balanced(*few, size, steps, seed=0).map(lambda x, y: (data.weak(x), y))
    model = compiled(network, rate, config.steps, average=True)
    fit(config, model, kt.streams.prefetched(stream), title)
    return model


def semi(config, data, method, encoder, head, few, many, rate, title):
    """Trains a semi-supervised method from an encoder and a head; returns its history, and the model."""
    made = {
        "fixmatch": lambda: kt.models.FixMatch(encoder, head, alignment=True, average=AVERAGE),
        "mean_teacher": lambda: kt.models.MeanTeacher(encoder, head, consistency_weight=ramp(config, 10.0)),
        "pseudo_label": lambda: kt.models.PseudoLabel(encoder, head, ramp(config, 1.0)),
        "pi_model": lambda: kt.models.PiModel(encoder, head, ramp(config, 10.0)),
        "mixmatch": lambda: kt.models.MixMatch(encoder, head, ramp(config, 25.0)),
    }
    model = compiled(made[method](), rate, config.steps)
    size, steps = rows_in_batch(config, data), min(config.steps, EPOCH)
    strong = None if method == "pseudo_label" else data.strong
    ratio = max(1, min(RATIO, len(many) // size))
    stream = kt.streams.labelled_and_unlabelled(
        few, many, data.weak, strong, size, ratio, steps=steps, classes=data.classes, exclude=data.excluded, seed=0
    )
    return fit(config, model, stream, title), model


def ramp(config, weight):
    """Returns a weight that rises in the first part of the steps."""
    return kt.schedules.DannRamp(config.steps, peak=weight)


def distil(config, data, teacher, title):
    """Trains a student of at most a quarter of the parameters on all rows, by what the teacher says of them."""
    student = data.student()
    model = kt.models.Distillation(*student, teacher, task_weight=0)
    rows, steps = tf.data.Dataset.from_tensor_slices(data.x), min(config.steps, EPOCH)
    stream = rows.shuffle(len(data.x), seed=0).repeat().batch(100).map(data.weak)
    compiled(model, config.learning_rate, config.steps)
    epochs = -(-config.steps // steps)
    shown = [runs.progress(title, epochs)]
    model.fit(kt.streams.prefetched(stream), epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=shown)
    return keras.Sequential(list(student))


def accuracy(model, test):
    """Returns the share of right answers."""
    return float((model.predict(test[0], batch_size=256, verbose=0).argmax(-1) == test[1]).mean())


def one_draw(config, data, encoder, seed):
    """Runs the stages on one draw of labels; returns what was found, and the networks to keep."""
    known = np.flatnonzero(data.y >= 0)
    drawn = known[few_labels.draw(data.y[known], config.labels, seed)]
    few, many = (data.x[drawn], data.y[drawn]), np.delete(data.x, drawn, axis=0)
    found, logs, start = {}, {}, time.perf_counter()

    def done(arm, model):
        nonlocal start
        found[arm] = {"accuracy": accuracy(model, data.test), "seconds": time.perf_counter() - start}
        start = time.perf_counter()
        print(f"seed {seed}, {arm}: {found[arm]}", flush=True)

    def anew(pretrained=None):
        keras.utils.set_random_seed(seed)
        encoder = data.new_encoder()
        if pretrained is not None:
            encoder.set_weights(pretrained.get_weights())
        return encoder, keras.Sequential([keras.Input(encoder.output_shape[1:]), layers.Dense(data.classes)])

    def trained(parts, rate, title):
        return supervised(config, data, keras.Sequential(list(parts)), few, rate, f"{title}, seed {seed}")

    done("twin", trained(anew(), config.learning_rate, "twin"))
    now, rate = anew(encoder), config.learning_rate
    if encoder is not None:
        rate = config.learning_rate / 4
        features = encoder.predict(data.as_they_are(few[0]), verbose=0)
        head = kt.metrics.probe_head(kt.metrics.tuned_probe(features, few[1])[0])
        now[1].set_weights(head.get_weights())
        done("probe", keras.Sequential([encoder, head]))
    last = now
    if "fine_tune" in config.stages:
        done("fine_tune", trained(now, rate, "fine_tune"))  # from where the next stage goes on
    for method in config.methods if "semi" in config.stages else ():
        keras.utils.set_random_seed(seed)
        copies = [kt.networks.copy_network(part) for part in now]
        history, model = semi(config, data, method, *copies, few, many, rate, f"{method}, seed {seed}")
        logs[method] = {name: values for name, values in history.items() if name in LOGGED}
        done(method, model)
        last = model.served if method == config.methods[0] else last
    last = keras.Sequential(list(last))
    if "distil" in config.stages and data.student() is not None:
        keras.utils.set_random_seed(seed)
        last = distil(config, data, last, f"student, seed {seed}")
        done("student", last)
    return {"arms": found, "logs": logs}, {"last": last} if seed == config.seeds[0] else {}


def by_stage(metrics, arms):
    """Returns what each arm gained over the arm before it and over the twin, and where to stop."""
    rows, scores = [], {arm: [one["accuracy"] for one in metrics[arm].values()] for arm in arms}
    best = "twin"
    for arm in arms[1:]:
        over_before = kt.report.paired_gain(scores[arm], scores[best], margin=MARGIN)
        over_twin = kt.report.paired_gain(scores[arm], scores["twin"], margin=MARGIN)
        rows.append({"stage": arm, "before": best, "over_before": over_before, "over_twin": over_twin})
        print(f"{arm}: {_told(over_before)} over {best}, {_told(over_twin)} over the twin", flush=True)
        if over_before.verdict == "gain":
            best = arm
    print(f"Stop after: {best}", flush=True)
    return rows, best


def _told(gain):
    return f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] points ({gain.verdict})"


def main(config):
    """Runs the stages on every draw of labels, reports, draws, exports and verifies; returns the record."""
    if len(config.seeds) < 2 or not set(config.stages) & {"fine_tune", "semi"}:
        raise ValueError(
            "Expected at least 2 seeds, and the stage `fine_tune` or `semi`; received "
            f"{config.seeds} and {config.stages}."
        )
    data = few_and_many.load(config)
    scratch = data.encoder is None and "pretrain" not in config.stages
    run = runs.Run(config, "learn_from_few", f"{data.case}_{config.labels}{'_scratch' * scratch}")
    encoder = data.encoder
    if encoder is None and "pretrain" in config.stages:  # otherwise it is pretrained already
        compute = functools.partial(pretrain, config, data.x, data.views)
        encoder = run.part("pretraining", compute, 0)[1]["encoder"]
    metrics, logs, kept = {}, {}, {}
    for seed in config.seeds:
        compute = functools.partial(one_draw, config, data, encoder, seed)
        found, networks = run.part(f"draw {seed}", compute, seed)
        for arm, values in found["arms"].items():
            metrics.setdefault(arm, {})[seed] = values
        logs[seed], kept = found["logs"], kept or networks
    rows, stop = by_stage(metrics, list(metrics))
    baselines = [arm for arm in ("twin", "probe") if arm in metrics]
    stages = [
        {**row, "over_before": row["over_before"]._asdict(), "over_twin": row["over_twin"]._asdict()} for row in rows
    ]
    extra = {"classes": data.names, "stages": stages, "stop_after": stop, "logs": logs, "unlabelled": len(data.x)}
    report = kt.report.TransferReport(metrics, baselines, "accuracy", extra=extra)
    model, (x, y) = kept["last"], data.test
    print(f"Exported is what the stages that were asked for end in, of draw {config.seeds[0]}.", flush=True)
    answers = model.predict(x, batch_size=256, verbose=0).argmax(-1)
    figures = {"confusion": pictures.confusion(y, {"what is served": answers}, data.names)}
    served, requests = data.served(model)
    metrics = {"accuracy": accuracy(model, data.test)}
    return run.finish(
        report, figures, model=served, x=requests, classes=list(data.names), metrics=metrics, tolerance=1e-4
    )


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
