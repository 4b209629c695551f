"""Short runs of recipes: where they write, and what a run must leave behind."""

import json

import numpy as np


def folders(folder):
    """The settings of a recipe by which all that it leaves lies in one folder."""
    return {name: folder / name for name in ("runs", "saved_models", "results")}


def check_run(folder, recipe, case, record, pictures):
    """Checks the files of the one run in a folder: the record, twice, its pictures, and the export if there is one."""
    from matplotlib.image import imread

    (run,) = (folder / "runs").iterdir()
    for path in (run / "report.json", folder / "results" / recipe / f"{case}.json"):
        assert json.loads(path.read_text()) == json.loads(json.dumps(record))
    assert {path.stem for path in run.glob("*.png")} == set(pictures)
    for name in pictures:
        image = imread(run / f"{name}.png")
        assert image.shape[0] > 200 and len(np.unique(image)) > 2
    if not (folder / "saved_models").exists():
        return None
    (version,) = (folder / "saved_models" / recipe).iterdir()
    return version


def served(version, signature="serving_default"):
    """Returns a signature of an export as a function from named arrays to a dict of arrays."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))

    def answer(**inputs):
        feed = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in loaded.signatures[signature](**feed).items()}

    return answer
