"""Learns weights that a few gradient steps on a few examples adapt to new classes, tests them, and exports them.

    python -m recipes.learn_to_adapt
    python -m recipes.learn_to_adapt --data omniglot --method maml --steps 50000 --seeds 0

By default nothing is downloaded: MAML, trained on Latin, Greek and Cyrillic letters and tested on Armenian and Georgian
ones, in about 4 minutes on two cores for each seed. `--data omniglot` reads Omniglot from `KERAS_TRANSFER_DATA` or
downloads it (15 MB), and takes up to an hour with one busy thread.

Measured numbers: `results/learn_to_adapt/<data>_<method>.json`, shown in the README beside those of
`recipes.learn_episodes`, whose letters, characters and baselines these are.
"""

import dataclasses
import pathlib
import time
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from recipes import learn_episodes, pictures, runs


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "omniglot"] = "glyphs"
    """Classes to train on, and others to test on; each turned by 90, 180 and 270 degrees is another class."""
    method: Literal["maml", "fomaml", "anil", "reptile"] = "maml"
    """Method; "fomaml" is MAML of first order."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training for each."""
    steps: int = 4000
    """Training steps; more than 500 in five hundreds."""
    ways: int = 5
    """Classes of an episode."""
    shots: int = 1
    """Examples of each class, in the test too; Reptile trains with 10."""
    queries: int = 5
    """Queries of each class in a training episode."""
    tasks: int = 4
    """Episodes in a training step."""
    inner_steps: int = 1
    """Gradient steps of the inner loop; Reptile takes 5, and 50 in the test."""
    inner_rate: float = 0.4
    """Where the learned rates of MAML begin, and the rate of ANIL's head; Reptile takes 0.001 with Adam."""
    learning_rate: float = 3e-3
    """Of Adam, at the start of a cosine decay to 0; Reptile's meta step goes from 1 to 0."""
    batch_norm: Literal["support", "batch"] = "support"
    """Whose statistics normalise the queries of MAML and Reptile; "batch" is transductive."""
    validation: bool = False
    """Whether Omniglot's 172 validation characters train too, after all choices were made."""
    mirrored: bool = False
    """Whether mirrored characters are further training classes, as turned ones are; the test has none."""
    jitter: bool = False
    """Whether each training image is shifted by up to a pixel and scaled by up to 6 %; the test's are not."""
    test_episodes: int = 1000
    """Test episodes, of 15 queries for each class."""
    runs: pathlib.Path = pathlib.Path("runs/learn_to_adapt")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_to_adapt/<version>/`."""
    results: pathlib.Path | None = None
    """Where to copy the report as `learn_to_adapt/<data>_<method>.json`; by default nowhere."""


def build(config):
    """Returns a new compiled model: four convolutions of stride 2, as in MAML's paper on Omniglot, and a head."""
    x = images = keras.Input((28, 28, 1), name="images")
    x = layers.Rescaling(1 / 255)(x)
    for _ in range(4):
        x = layers.Conv2D(64, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    encoder = keras.Model(images, layers.Flatten(name="features")(x), name="conv4")
    head = keras.Sequential([keras.Input(encoder.output_shape[1:]), layers.Dense(config.ways)])
    network = keras.Model(images, head(encoder.output))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps))
    if config.method == "anil":
        model = kt.models.ANIL(encoder, head, config.inner_steps, config.inner_rate)
    elif config.method == "reptile":
        model = kt.models.Reptile(network, batch_norm=config.batch_norm)
        meta_step = keras.optimizers.schedules.PolynomialDecay(1.0, config.steps, end_learning_rate=0.0)
        optimizer = keras.optimizers.SGD(meta_step)
    else:
        first_order = config.method == "fomaml"
        model = kt.models.MAML(
            network,
            config.inner_steps,
            config.inner_rate,
            first_order=first_order,
            learn_rates=True,
            batch_norm=config.batch_norm,
        )
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def train(config, seed, data):
    """Trains one model; returns it and the history."""
    keras.utils.set_random_seed(seed)
    model, (x, y) = build(config), data
    if config.mirrored:
        x, y = np.concatenate([x, x[:, :, ::-1]]), np.concatenate([y, y + 1 + y.max()])
    batches = min(500, config.steps)
    shots, queries = (10, 1) if config.method == "reptile" else (config.shots, config.queries)
    stream = kt.streams.episodes(
        x, y, config.ways, shots, queries, config.tasks, batches=batches, rotations=True, seed=seed
    )
    stream = jittered(stream) if config.jitter else stream
    return model, model.fit(stream, epochs=config.steps // batches, shuffle=False, verbose=2).history


def jittered(stream):
    """Shifts and scales each image of the episodes a little."""
    crop = keras.Sequential(
        [layers.ZeroPadding2D(1), kt.layers.RandomResizedCrop(28, 28, scale=(0.77, 0.98), ratio=(0.94, 1.06))]
    )

    def change(images):
        return keras.ops.reshape(crop(keras.ops.reshape(images, (-1, *images.shape[2:]))), images.shape)

    def each(x, y):
        (support, labels), query = x["support"], x["query"]
        return {"support": (change(support), labels), "query": change(query)}, y

    return kt.streams.prefetched(stream.map(each))


def measure(config, seed, model, data):
    """Measures a model on classes never seen."""
    transductive = config.batch_norm == "batch" and config.method != "anil"
    normalization = "moving averages" if config.method == "anil" else config.batch_norm
    card = learn_episodes.protocol(config, normalization, seed)
    card |= {"train_mirrored": config.mirrored, "train_jitter": config.jitter}
    card |= {"steps": config.steps, "tasks": config.tasks}
    episodes = kt.streams.episodes(
        *data, config.ways, config.shots, 15, 10, batches=config.test_episodes // 10, rotations=True, seed=seed
    )
    report = kt.report.FewShotReport.measure(model, episodes, transductive, **card)
    print(f"{config.method}, {report}", flush=True)
    return report


def main(config):
    """Trains and tests, draws, exports and verifies; returns the record."""
    if config.steps > 500 and config.steps % 500:
        raise ValueError(f"Expected `steps` in five hundreds if more than that; received {config.steps}.")
    training, _, test = learn_episodes.load(config)
    histories, tests, kept = [], [], None
    for seed in config.seeds:
        start = time.perf_counter()
        model, history = train(config, seed, training)
        seconds = time.perf_counter() - start
        report = measure(config, seed, model, test).to_dict()
        tests.append({"seed": seed, "seconds": seconds, "reports": [report]})
        histories.append(history)
        kept = kept or model

    target = config.saved_models / "learn_to_adapt"
    version = kt.serving.export_episodes(kept, target, test[0][:8], metrics=tests[0]["reports"][0])
    unseen = learn_episodes.requests(test, [(config.ways, shots, 3 + shots) for shots in (1, 2, 5)], rotations=True)
    # Adam divides by the gradient's size: where a gradient is about zero, rounding decides, 50 times.
    tolerance = 0.05 if config.method == "reptile" else 1e-4
    verified = kt.serving.verify_episodes(version, kept, unseen, tolerance)
    record = {
        "config": runs.settings(config),
        "tests": {config.method: tests},
        "export": verified._asdict(),
        "histories": {config.method: histories},
    }

    case = f"{config.data}_{config.method}"
    folder = runs.folder(config, case)
    folder.mkdir(parents=True)
    answered = learn_episodes.answered(kept, test, rotations=True)
    for name, figure in {"episode": answered, "curves": pictures.curves(record["histories"])}.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    runs.write(record, folder, config, "learn_to_adapt", case)
    print(f"\nPictures and report: {folder}\nExport: {version}")
    print(f"Largest difference in a fresh process: {max(verified.differences.values()):.1e}")
    return record


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
