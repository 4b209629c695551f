"""How every run ends: what is served is exported and verified, record and pictures are written, results printed."""

import dataclasses
import datetime
import functools
import json
import pathlib

import keras

import keras_transfer as kt


def progress(title, epochs):
    """Prints a title and returns the callback of `fit` that shows under it which epoch is done."""
    print(title, flush=True)
    bar = keras.utils.Progbar(epochs, unit_name="epoch")
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: bar.update(epoch + 1, logs.items()))


def settings(config):
    """Returns the settings that a record keeps: no folders of one machine, and of a backbone its kind alone."""
    folders = ("runs", "saved_models", "results")
    kept = {k: v for k, v in dataclasses.asdict(config).items() if k not in folders and not isinstance(v, pathlib.Path)}
    if "backbone" in kept:
        kept["backbone"] = kept["backbone"].partition(":")[0]
    return kept


def finish(
    config,
    recipe,
    case,
    record,
    figures,
    text="",
    model=None,
    x=None,
    requests=None,
    tolerance=1e-5,
    **export,
):
    """Exports and verifies a model, writes the record and the pictures of a run, and prints where they are.

    Args:
        config: settings with the folders `runs`, `saved_models` (where there is a model) and `results`, which is None
            or also gets the record, as `<results>/<recipe>/<case>.json`.
        recipe: name of the recipe, and of the exported model.
        case: name of what was run, such as the data set.
        record: dict of what was measured; settings and export are added to it. Or a `kt.report.TransferReport`: then
            they are added to its `extra`, and the report is printed and drawn.
        figures: dict of names to matplotlib figures.
        text: str, what to print.
        model: model to export; None exports nothing.
        x: real inputs as clients will send them, for `kt.export`.
        requests: list of inputs on each of which the export is verified; by default 16 rows of `x`.
        tolerance: largest absolute difference that the verification passes.
        **export: further arguments of `kt.export`.

    Returns:
        The record, a dict.
    """
    kept, places = {"config": settings(config)}, []
    if model is not None:
        version = kt.export(model, config.saved_models / recipe, x, **export)
        requests = [x[:16]] if requests is None else requests
        prepared = {"preprocessing": export.get("preprocessing")}
        jobs = [{"path": version, "model": model, "x": request, **prepared} for request in requests]
        found = kt.serving.verify_all(jobs, tolerance)
        names = found[0].differences
        largest = {name: max(one.differences[name] for one in found) for name in names}
        kept["export"] = {"differences": largest, "stored": found[0].stored}
        places = [f"Export: {version}", f"Largest difference in a fresh process: {max(largest.values()):.1e}"]
    if isinstance(record, kt.report.TransferReport):
        record.extra |= kept
        text, figures = f"{case}\n{record}", {**figures, "report": record.draw()}
        record = record.to_dict()
    else:
        record = kept | record
    run = config.runs / f"{case}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    run.mkdir(parents=True)
    for name, figure in figures.items():
        draw = functools.partial(figure.savefig, format="png", dpi=110)
        kt.report.write_whole(run / f"{name}.png", draw)
    copies = [] if config.results is None else [config.results / recipe / f"{case}.json"]
    for path in (run / "report.json", *copies):
        kt.report.write_whole(path, f"{json.dumps(record, indent=1)}\n".encode())
    print("", text, "", f"Pictures and report: {run}", *places, sep="\n")
    return record
