"""Fine-tunes a network on one domain after another, and keeps what it knew of the first ones; exports it.

    python -m keras_transfer.recipes.learn_domains --images photos cartoons --backbone applications:MobileNetV2

Folders of the same classes, `<folder>/<class>/*.jpg`, in the order in which they come. Of a pretrained backbone the
upper quarter trains, and what lies below runs once. By default nothing is needed: digits, printed first, then
handwritten, and a small CNN, in about six minutes on one core. Measured numbers: `results/learn_domains/<case>.json`.

`plain` trains on. It is held against by what costs nothing: a lower rate, fewer steps, the way back to the weights
before (`interpolation`, WiSE-FT) and weights that are pulled to these (`l2sp`). Of the methods `replay` keeps a few
pictures of each class, `ewc` and `lwf` none. Each with several strengths, from weak to strong: the frontier of what is
kept against what is learned. The strength of each is chosen on other splits of the pictures, `--choice`, by the mean of
all domains; splits of `--seeds` are reported. A fifth of each domain is the test.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import pictures, runs

STRENGTHS = {  # from weak to strong
    "plain": (1.0,),
    "lower_rate": (0.3, 0.1),
    "fewer_steps": (0.5, 0.25),
    "interpolation": (0.3, 0.5),
    "l2sp": (1.0, 10.0),
    "ewc": (1e2, 1e3, 1e4),
    "lwf": (0.3, 1.0),
    "replay": (1.0, 3.0),
}
METHODS = ("ewc", "lwf", "replay")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    images: tuple[pathlib.Path, ...] | None = None
    """Folders of the domains, in the order in which they come, all with the same classes; by default digits."""
    backbone: str = ""
    """The pretrained network for your pictures: `applications:MobileNetV2`, `hub:<folder or handle>`,
    `keras_hub:<preset>` or `file:<path>.keras`."""
    image_size: int = 96
    """Side in pixels that pictures are reduced to."""
    depth: float = 0.25
    """Share of the backbone's layers that trains, from the output."""
    method: tuple[Literal[tuple(STRENGTHS)], ...] = tuple(STRENGTHS)
    """What is trained after the first domain; `plain` among it."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One split of the pictures and one training of every arm for each; at least two, for an interval."""
    choice: tuple[int, ...] = (100,)
    """Seeds of the splits on which strengths are chosen."""
    per_class: int = 10
    """Pictures of each class and domain that `replay` keeps."""
    information_rows: int = 200
    """Pictures of each domain, at most, by which `ewc` measures what it depends on."""
    steps: int = 120
    """Training steps on each domain."""
    batch_size: int = 32
    """Pictures in a step, and as many of the buffer."""
    learning_rate: float = 3e-4
    """The learning rate of Adam at the start of a cosine decay to 0."""
    runs: pathlib.Path = pathlib.Path("runs/learn_domains")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_domains/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/learn_domains/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `{domain: (images, labels)}`, the classes, and the backbone or None."""
    if config.images is None:
        handwritten = kt.datasets.digits(image_size=28)
        return {"printed": kt.datasets.printed_digits(4000), "handwritten": handwritten}, tuple("0123456789"), None
    if len(config.images) < 2 or not config.backbone:
        raise ValueError(
            f"Expected at least two folders of --images and a --backbone; received {config.images} and "
            f"{config.backbone!r}."
        )
    names = [path.name for path in config.images]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected folders of different names; received {names}.")
    found, classes = kt.datasets.image_folders(dict(zip(names, config.images)), config.image_size)
    backbone = kt.backbones.load(config.backbone, (config.image_size, config.image_size, 3), trainable=True)
    return found, classes, backbone


def below(config, found, backbone):
    """Returns what reaches the part that trains, `{domain: (rows, labels)}`, that part, and what lies below or None."""
    if backbone is None:
        shape = next(iter(found.values()))[0].shape[1:]
        return found, kt.backbones.small_cnn(shape, momentum=0.9), None
    lower, upper = kt.finetuning.split(backbone, config.depth)
    if lower is None:
        return found, upper, None
    rows = {name: (lower.predict(images, batch_size=64, verbose=0), labels) for name, (images, labels) in found.items()}
    return rows, upper, lower


def split(found, seed):
    """Returns `{domain: ((x, y) to train, (x, y) to test)}`: a fifth of each tests."""
    parts = {}
    for name, (x, y) in found.items():
        order = np.random.default_rng(seed).permutation(len(y))
        sides = order[len(y) // 5 :], order[: len(y) // 5]
        parts[name] = tuple((x[side], y[side].astype("int32")) for side in sides)
    return parts


def fit(config, model, x, y, seed, rate=1.0, steps=1.0, memory=None):
    """Trains a model on a domain, with a share of the rate and of the steps, and with rows of a buffer."""
    number = max(1, round(steps * config.steps))
    decay = keras.optimizers.schedules.CosineDecay(rate * config.learning_rate, number)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(decay), loss, metrics=["accuracy"])
    stream = kt.streams.replay((x, y), memory, min(config.batch_size, len(y)), seed=seed, steps=number)
    model.fit(stream, shuffle=False, verbose=0)


def begin(config, upper, data, classes, seed):
    """Returns the encoder and the head after the first domain, which all arms begin with."""
    keras.utils.set_random_seed(seed)
    encoder = kt.networks.copy_network(upper)
    features = keras.Input(encoder.output_shape[1:])
    head = keras.Sequential([features, layers.Dropout(0.2), layers.Dense(classes)])
    (x, y), _ = next(iter(data.values()))
    fit(config, keras.Sequential([encoder, head]), x, y, seed, steps=5.0 if config.images is None else 1.0)
    kt.finetuning.freeze_batch_norm(encoder)
    return encoder, head


def learn(config, arm, strength, seed, networks, data):
    """Trains an arm on the domains behind the first; returns what was found, and its networks."""
    keras.utils.set_random_seed(seed)
    start, (encoder, head) = time.perf_counter(), map(kt.networks.copy_network, networks)
    kt.finetuning.freeze_batch_norm(encoder)
    classes, number = head.output_shape[-1], len(data)
    memory, shape = None, next(iter(data.values()))[0][0].shape[1:]
    if arm == "replay":
        memory = kt.layers.ReplayBuffer(config.per_class * classes * (number - 1), shape, classes)
    made = {
        "ewc": lambda: kt.models.EWC(encoder, head, strength),
        "lwf": lambda: kt.models.LwF(encoder, head, strength),
        "replay": lambda: kt.models.ExperienceReplay(encoder, head, memory, strength),
        "l2sp": lambda: kt.models.L2SP(encoder, head, strength, head_weight=0.0),
    }
    model = made.get(arm, lambda: keras.Sequential([encoder, head]))()
    domains, matrix, whole = list(data.values()), [], keras.Sequential([encoder, head])

    def test():
        answers = [whole.predict(x, batch_size=128, verbose=0).argmax(-1) for _, (x, _) in domains]
        return [float((answer == y).mean()) for answer, (_, (_, y)) in zip(answers, domains)]

    for place, ((x, y), _) in enumerate(domains):
        if place:
            before = model.get_weights()
            shares = {"lower_rate": {"rate": strength}, "fewer_steps": {"steps": strength}}.get(arm, {})
            fit(config, model, x, y, seed, **shares, memory=memory)
            if arm == "interpolation":
                model.set_weights(kt.finetuning.interpolate(before, model.get_weights(), 1 - strength))
        matrix.append(test())
        if place == number - 1:
            break  # nothing comes that could forget it
        if arm in METHODS:
            rows = np.random.default_rng(seed).permutation(len(y))
            rows = rows[: config.information_rows] if arm == "ewc" else rows
            model.consolidate(x[rows], y[rows], learned_before=not place)
        elif arm == "l2sp":
            model = made[arm]()
    return {"matrix": matrix, "seconds": time.perf_counter() - start}, {"encoder": encoder, "head": head}


def main(config):
    """Trains every arm, chooses strengths, reports, draws, exports and verifies; returns the record."""
    if len(config.seeds) < 2 or set(config.seeds) & set(config.choice) or "plain" not in config.method:
        raise ValueError(
            "Expected at least 2 seeds, others than those of --choice, and the method plain; received "
            f"{config.seeds}, {config.choice} and {config.method}."
        )
    case = "digits" if config.images is None else "_".join(path.name for path in config.images)
    run, (images, classes, backbone) = runs.Run(config, "learn_domains", case), load(config)
    rows, upper, lower = below(config, images, backbone)
    names, found, networks = list(rows), {}, {}
    for seed in (*config.choice, *config.seeds):
        data = split(rows, seed)
        _, begun = run.part(
            f"{names[0]}, seed {seed}",
            lambda data=data, seed=seed: (
                {},
                dict(zip(("encoder", "head"), begin(config, upper, data, len(classes), seed))),
            ),
            seed,
        )
        for arm in config.method:
            for strength in STRENGTHS[arm]:
                keep = seed == config.seeds[0]
                compute = functools.partial(learn, config, arm, strength, seed, begun.values(), data)
                one, left = run.part(
                    f"{arm} {strength:g}, seed {seed}",
                    lambda compute=compute, keep=keep: trimmed(compute(), keep),
                    seed,
                )
                found.setdefault(arm, {}).setdefault(strength, {})[seed] = one
                networks[arm, strength] = left or networks.get((arm, strength), {})
                print(f"seed {seed}, {arm} {strength:g}: {np.round(one['matrix'][-1], 3)}", flush=True)
    chosen = {
        arm: max(of, key=lambda strength, of=of: np.mean([of[strength][seed]["matrix"][-1] for seed in config.choice]))
        for arm, of in found.items()
    }
    metrics = {
        arm: {seed: measured(found[arm][chosen[arm]][seed], names) for seed in config.seeds} for arm in config.method
    }
    lines = {
        arm: [np.mean([halves(of[strength][seed]) for seed in config.seeds], axis=0).tolist() for strength in of]
        for arm, of in found.items()
    }
    before = np.mean([found["plain"][1.0][seed]["matrix"][0] for seed in config.seeds], axis=0).tolist()
    extra = {"chosen": chosen, "frontier": lines, "before": dict(zip(names, before)), "domains": names}
    extra["matrices"] = {arm: found[arm][chosen[arm]] for arm in config.method}
    baselines = [arm for arm in config.method if arm not in METHODS]
    report = kt.report.TransferReport(metrics, baselines, "accuracy", extra=extra)
    figures = {"frontier": pictures.frontier(lines, ("former domains", names[-1]))}
    means = {arm: np.mean([one["matrix"] for one in of[chosen[arm]].values()], axis=0) for arm, of in found.items()}
    figures["matrices"] = pictures.matrices(means)
    served = next((arm for arm in reversed(config.method) if arm in METHODS), "plain")
    parts = networks[served, chosen[served]]
    chain = [*([] if lower is None else [lower]), parts["encoder"], parts["head"]]
    x = next(iter(images.values()))[0]
    model = keras.Sequential([keras.Input(x.shape[1:]), *chain])
    return run.finish(
        report,
        figures,
        model=model,
        x=x[:64],
        classes=classes,
        metrics=metrics[served][config.seeds[0]],
        tolerance=1e-4,
    )


def trimmed(found, keep):
    """Returns what an arm found, with its networks where they are kept."""
    return found if keep else (found[0], {})


def measured(one, names):
    """Returns the metrics of a run: the accuracy on each domain at the end, and their mean."""
    last = one["matrix"][-1]
    each = {f"{name}_accuracy": value for name, value in zip(names, last)}
    return {"accuracy": float(np.mean(last)), **each, "seconds": one["seconds"]}


def halves(one):
    """Returns the mean accuracy on former domains and that on the last one, at the end."""
    last = one["matrix"][-1]
    return float(np.mean(last[:-1])), last[-1]


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
