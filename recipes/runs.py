"""What a run leaves behind: its settings and its record."""

import dataclasses
import datetime
import json
import pathlib

import keras_transfer as kt


def settings(config):
    """Returns the settings that a record keeps: no folders of one machine, and of a backbone its kind alone."""
    folders = ("runs", "saved_models", "results")
    kept = {k: v for k, v in dataclasses.asdict(config).items() if k not in folders and not isinstance(v, pathlib.Path)}
    if "backbone" in kept:
        kept["backbone"] = kept["backbone"].partition(":")[0]
    return kept


def folder(config, case):
    """Returns the path of a new run, named after the case and the time; makes nothing."""
    return config.runs / f"{case}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def write(record, run, config, recipe, case):
    """Writes the record of a run into its folder and, if asked for, as `<results>/<recipe>/<case>.json`."""
    text = (json.dumps(record, indent=1) + "\n").encode()
    copy = [] if config.results is None else [config.results / recipe / f"{case}.json"]
    for path in (run / "report.json", *copy):
        kt.report.write_whole(path, text)
