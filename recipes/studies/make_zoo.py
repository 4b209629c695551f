"""Makes the models of the zoo, `kt.zoo`: trains, measures, exports and verifies each, and writes its card.

    python -m keras_transfer.recipes.studies.make_zoo
    python -m keras_transfer.recipes.studies.make_zoo --only digits_adapted sinusoids_maml

Each is made by the parts of a recipe with settings of its own, mostly shorter than the recipe's record, and stands in
`saved_models/<name>/`: the SavedModel `1/`, `model.keras` to go on from, `answers.npz` with what the SavedModel says to
its warm-up request, `card.json` and `README.md`. A model that is there is not made again, unless its folder is removed.
All together take about 40 minutes on one core. Omniglot is read from `KERAS_TRANSFER_DATA` or downloaded, Fashion-MNIST
by Keras.
"""

import dataclasses
import hashlib
import json
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.recipes import runs
from keras_transfer.recipes.studies.zoo_entries import ENTRIES, ONE_TRAINING, SEED
from keras_transfer.recipes.tables.zoo import megabytes, number

MODULE = "keras_transfer.recipes.studies.make_zoo"


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    only: tuple[str, ...] = tuple(ENTRIES)
    """Names of the models to make; by default all."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder of the models, `<saved_models>/<name>/`."""


def main(config):
    """Makes the models that are not there yet, and writes the cards; returns them."""
    unknown = sorted(set(config.only) - set(ENTRIES))
    if unknown:
        raise ValueError(f"Expected names of {', '.join(ENTRIES)}; received {', '.join(unknown)}.")
    runs.check(config)
    config.saved_models.mkdir(parents=True, exist_ok=True)
    cards = {}
    for name in config.only:
        folder, entry = config.saved_models / name, ENTRIES[name]
        if not folder.exists():
            print(f"{name}: {entry.what_for}", flush=True)
            with tempfile.TemporaryDirectory(prefix=".making-", dir=config.saved_models) as beside:
                make(pathlib.Path(beside, name), name, entry)
                pathlib.Path(beside, name).rename(folder)
        cards[name] = write_card(folder, json.loads((folder / "card.json").read_text(encoding="utf-8")), entry)
        for metric in cards[name]["metrics"]:
            print(f"{name}: {told(metric)}", flush=True)
    kt.report.write_whole(config.saved_models / "README.md", contents(config.saved_models).encode())
    return cards


def make(folder, name, entry):
    """Trains one model, measures, exports and verifies it, and writes its folder."""
    keras.utils.set_random_seed(SEED)
    made = entry.make(entry.config)
    folder.mkdir()
    for file, save in made.files.items():
        save(folder / file)
    served = made.model if made.serve is None else made.serve(folder)
    version = kt.export(served, folder, made.x, **made.export)
    # Rates of a finished training have fallen to zero: whoever goes on begins with a new optimizer.
    made.model.compile(keras.optimizers.Adam(entry.rate), **made.compiled)
    made.model.save(folder / "model.keras")
    np.savez_compressed(folder / "answers.npz", **answers(version))
    export = json.loads((version / kt.serving.CARD).read_text(encoding="utf-8"))
    settings = {key: value for key, value in runs.settings(entry.config).items() if key not in ("seeds", "splits")}
    card = {
        "name": name,
        "model": type(made.model).__name__,
        "served_by": type(served).__name__,
        "command": f"python -m {MODULE} --only {name}",
        "settings": settings,
        "seed": SEED,
        "metrics": made.metrics,
        "confidence": 0.95,
        "parameters": made.model.count_params(),
        "served_parameters": export["parameters"],
        **{key: export[key] for key in ("inputs", "outputs", "rowwise", "classes")},
        "going_on": {
            "arrays": {key: described(value) for key, value in made.data.items()},
            "optimizer": f"Adam, rate {entry.rate}, in its first state",
        },
        "verified": export["verified"]["differences"],
        "versions": export["versions"],
        "files": checksums(folder),
    }
    write_card(folder, card, entry)


def write_card(folder, card, entry):
    """Writes a card with the texts of its entry, and the same for people; returns it."""
    going_on = {"code": entry.code, **{key: card["going_on"][key] for key in ("arrays", "optimizer")}}
    card = {"name": card["name"], **texts(entry), **card, **texts(entry), "going_on": going_on}
    card = json.loads(kt.report.to_json(card))
    (folder / "README.md").write_text(page(card), encoding="utf-8")
    kt.report.write_whole(folder / "card.json", f"{kt.report.to_json(card)}\n".encode())
    return card


def texts(entry):
    """Returns what a card says that is not measured."""
    return {
        "what_for": entry.what_for,
        "paper": entry.paper,
        "data": entry.data,
        "licence": "Apache-2.0, as the project's code; that of the data is beside each",
        "recipe": type(entry.config).__module__,
        "records": [dict(zip(("file", "key", "what"), record)) for record in entry.records],
        "limits": [*entry.limits, ONE_TRAINING],
    }


def checksums(folder):
    """Returns the SHA-256 and the size of each file in a folder."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {
        file.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
        }
        for file in files
    }


def contents(saved_models):
    """Returns what the folder of the models says of itself, in Markdown."""
    lines = [
        "# Models",
        "",
        "Trained by recipes, to be served at once or trained on: in Python `kt.zoo.load(name)`, `kt.zoo.path(name)`",
        "and `kt.zoo.card(name)`. Each folder is what TF Serving takes, with a card, and `model.keras` to go on from.",
        "",
        "| name | what for | MB |",
        "|---|---|---|",
    ]
    for file in sorted(saved_models.glob("*/card.json")):
        card = json.loads(file.read_text(encoding="utf-8"))
        lines.append(f"| [`{card['name']}`]({card['name']}/README.md) | {card['what_for']} | {megabytes(card):.1f} |")
    return (
        "\n".join(lines)
        + """

All at once, in one server:

```bash
python -c "import keras_transfer as kt; kt.serving.write_config('saved_models')"
docker run -p 8501:8501 -v "$PWD/saved_models:/models" tensorflow/serving --model_config_file=/models/models.config
```

They are made by `python -m keras_transfer.recipes.studies.make_zoo`. Recipes export here too, as
`<recipe>/<version>/`; what they write is not committed.
"""
    )


def answers(version):
    """Returns what a SavedModel says to its warm-up requests, `{"<signature>/<output>": array}`."""
    from tensorflow_serving.apis import prediction_log_pb2

    loaded, found = tf.saved_model.load(str(version)), {}
    for record in tf.data.TFRecordDataset(str(version / kt.serving.WARM_UP)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        name = request.model_spec.signature_name
        feed = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        for output, value in loaded.signatures[name](**feed).items():
            array = value.numpy()
            found[f"{name}/{output}"] = array.astype("S") if array.dtype == object else array
    return found


def described(array):
    """Returns the shape, dtype and range of an array of the training, of any number of rows."""
    array = np.asarray(array)
    return {"shape": [None, *array.shape[1:]], "dtype": array.dtype.name, "min": array.min(), "max": array.max()}


def told(metric):
    """Returns a metric of a card as text."""
    return f"{metric['name']}: {number(metric)}, over {metric['over']}"


def page(card):
    """Returns the card for people, in Markdown."""
    signatures = []
    for name, inputs in card["inputs"].items():
        outputs = ", ".join(f"`{output}`" for output in card["outputs"][name])
        signatures.append(f"| `{name}` | {', '.join(map(input_text, inputs.items()))} | {outputs} |")
    arrays = [f"- {input_text(item)}" for item in card["going_on"]["arrays"].items()]
    settings = ", ".join(f"{key} {value}" for key, value in card["settings"].items())
    records = [f"- {one['what']}: `{one['key']}` in `results/{one['file']}`" for one in card["records"]]
    lines = [
        f"# {card['name']}",
        "",
        f"{card['what_for']} {card['parameters']:,} parameters, {card['served_parameters']:,} of them served.",
        "",
        "## Data and licence",
        "",
        *(f"- {one}" for one in card["data"]),
        f"- The model: {card['licence']}.",
        "",
        "## How it was made",
        "",
        "```bash",
        card["command"],
        "```",
        "",
        f"`{card['model']}` by the parts of `{card['recipe']}`, seed {card['seed']}: {settings}.",
        "",
        "## How good it is",
        "",
        "Of this very model, with a 95 % interval:",
        "",
        *(f"- {told(metric)}" for metric in card["metrics"]),
        *(["", "Full runs of the recipe:", "", *records] if records else []),
        "",
        "## What a server answers",
        "",
        "| signature | inputs | outputs |",
        "|---|---|---|",
        *signatures,
        "",
        "```bash",
        f'docker run -p 8501:8501 -v "$PWD/saved_models:/models" -e MODEL_NAME={card["name"]} tensorflow/serving',
        "```",
        "",
        "## Going on",
        "",
        "```python",
        f'model = kt.zoo.load("{card["name"]}")',
        card["going_on"]["code"],
        "```",
        "",
        f"{card['going_on']['optimizer']}. What it was trained on looked like this:",
        "",
        *arrays,
        "",
        "## Limits",
        "",
        *(f"- {one}" for one in card["limits"]),
        "",
        "## Paper",
        "",
        f"{card['paper']}.",
    ]
    return "\n".join(lines) + "\n"


def input_text(item):
    """Returns a name with the shape, dtype and range of its array."""
    name, about = item
    shape = ", ".join("n" if size is None else str(size) for size in about["shape"])
    told = f"`{name}` ({shape}) {about['dtype']}"
    return f"{told} from {about['min']:g} to {about['max']:g}" if "min" in about else told


if __name__ == "__main__":
    runs.command(main, Config, __doc__)
