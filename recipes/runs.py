"""How every run goes: settings are checked before it begins, what is finished is kept, what is served is verified."""

import contextlib
import copy
import dataclasses
import datetime
import functools
import importlib.util
import json
import math
import os
import pathlib
import shutil
import sys

import keras

import keras_transfer as kt

FOLDERS = ("runs", "saved_models", "results")
FROM_ZERO = ("seeds", "splits")  # settings that number something; other integers count something
PACKAGES = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}


def command(main, config, description, arguments=None, name=None):
    """Runs a recipe from the command line; Ctrl-C, and input that is refused, end it without a traceback.

    Args:
        main: function of the settings.
        config: their dataclass, whose fields become options.
        description: str, what `--help` says first.
        arguments: list of strings; by default those of the command line.
        name: str, what the command calls itself; by default as it was called.
    """
    import tyro

    try:
        flattened = (tyro.conf.OmitArgPrefixes,)
        main(tyro.cli(config, prog=name, description=description, args=arguments, config=flattened))
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # as shells say it
    except (ValueError, OSError, ImportError) as error:
        if not str(error).startswith("Expected"):  # not said by a check, so its place is worth showing
            raise
        print(f"\n{error}", file=sys.stderr)
        raise SystemExit(2) from None


def progress(title, total, unit="epoch"):
    """Prints a title and returns the callback of `fit` that shows under it how many epochs, or steps, are done."""
    print(title, flush=True)
    bar = keras.utils.Progbar(total, unit_name=unit)

    def show(number, logs):
        if (number + 1) % max(1, total // 20) == 0 or number + 1 == total:  # a log file gets 20 lines
            bar.update(number + 1, logs.items())

    if unit == "step":
        return keras.callbacks.LambdaCallback(on_train_batch_end=show)
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: bar.update(epoch + 1, logs.items()))


def serving(version):
    """Returns the lines of a shell that serve an export."""
    folder = version.parent
    mount = f"{folder.parent.resolve()}:/models"
    return "\n".join(
        [
            "Serve it:",
            f'  docker run -p 8501:8501 -v "{mount}" -e MODEL_NAME={folder.name} tensorflow/serving',
            f"  curl localhost:8501/v1/models/{folder.name}/metadata",
        ]
    )


def settings(config):
    """Returns the settings that a record keeps: no folders of one machine, and of backbones their kind alone."""
    kept = {name: value for name, value in _asked(config).items() if not _paths(value)}
    if "backbone" in kept:
        kept["backbone"] = kept["backbone"].partition(":")[0]
    if kept.get("backbones"):
        kept["backbones"] = [name.partition(":")[0] for name in kept["backbones"]]
    return kept


class Run:
    """One run of a recipe. What its parts find is kept as they end, so that an interrupted run can be resumed.

    Its folder, `<runs>/<case>-<time>/`, holds `report.json`, which is whole at any time: until the end it has the
    settings and what the finished parts found. `--resume <folder>` goes on from there, with the same settings.

    Args:
        config: settings of a recipe, a dataclass with the folders `runs`, `saved_models` (where there is a model) and
            `results`, which is None or also gets the record, as `<results>/<recipe>/<case>.json`; and with `resume`,
            the folder of an interrupted run or None.
        recipe: name of the recipe, and of the exported model.
        case: name of what is run, such as the data set.

    Raises:
        ValueError: if a setting has no value, one value twice, one that is not finite or out of range; if the run to
            resume is none, is finished or had other settings.
        NotADirectoryError: if a folder is a file.
        PermissionError: if a folder cannot be written to.
        ModuleNotFoundError: if a package is missing that the end of the run needs.
    """

    def __init__(self, config, recipe, case):
        check(config)
        self.config, self.recipe, self.case, self.parts = config, recipe, str(case), {}
        self.begun = {"recipe": recipe, "case": self.case, "settings": _identity(config)}
        if config.resume is not None:
            self.parts = _read_parts(config.resume, self.begun)

    @functools.cached_property
    def folder(self):
        """The path of the run's folder, which is made when it is first needed."""
        name = f"{self.case}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        return self.config.resume or _new_folder(self.config.runs, name)

    def part(self, name, compute, seed=0):
        """Returns what a part of the run finds, and the networks that it leaves; nothing is computed where it is kept.

        Each part begins with a seed of its own, so that it finds the same after an interruption.

        Args:
            name: str, of this part alone.
            compute: function without arguments that returns what is found, a dict that JSON can hold, and a dict of
                the networks that other parts or the export need.
            seed: int.

        Returns:
            What was found as JSON gives it back, with lists for tuples and None for NaN, and the dict of networks.
        """
        if name in self.parts:
            print(f"{name}: kept from before", flush=True)
            networks = {key: self._load(path) for key, path in self.parts[name]["files"].items()}
            return copy.deepcopy(self.parts[name]["found"]), networks
        self._keep()  # a folder to name, whatever happens
        with self._told(name):
            keras.utils.set_random_seed(seed)
            found, networks = compute()
            files = {key: f"parts/{len(self.parts)}-{key}.keras" for key in networks}
            for key, network in networks.items():
                self._save(network, files[key])
            self.parts[name] = {"found": json.loads(kt.report.to_json(found)), "files": files}
            self._keep()
        return copy.deepcopy(self.parts[name]["found"]), networks

    def finish(self, record, figures, text="", model=None, x=None, requests=None, tolerance=1e-5, **export):
        """Exports and verifies a model, writes the record and the pictures of the run, and prints where they are.

        Args:
            record: dict of what was measured; settings and export are added to it. Or a `kt.report.TransferReport`:
                then they are added to its `extra`, and the report is printed and drawn.
            figures: dict of names to matplotlib figures.
            text: str, what to print.
            model: model to export; None exports nothing.
            x: real inputs as clients will send them, for `kt.export`.
            requests: list of further inputs on which the export is verified, beside 16 rows of `x`.
            tolerance: largest absolute difference that the verification passes.
            **export: further arguments of `kt.export`.

        Returns:
            The record, a dict.
        """
        self._keep()
        kept, places = {"config": settings(self.config)}, []
        if model is not None:
            target = self.config.saved_models / self.recipe
            with self._told("export"):
                version = kt.export(model, target, x, verify=requests or True, tolerance=tolerance, **export)
            card = json.loads((version / kt.serving.CARD).read_text(encoding="utf-8"))
            kept["export"], largest = card["verified"], card["verified"]["differences"]
            self._save(model, "model.keras")
            places = [f"To go on with: {self.folder / 'model.keras'}", f"Export: {version}"]
            places += [f"Largest difference in a fresh process: {max(largest.values()):.1e}", "", serving(version)]
        if isinstance(record, kt.report.TransferReport):
            record.extra |= kept
            text, figures = f"{self.case}\n{record}", {**figures, "report": record.draw()}
            record = record.to_dict()
        else:
            record = kept | record
        for name, figure in figures.items():
            draw = functools.partial(figure.savefig, format="png", dpi=110)
            kt.report.write_whole(self.folder / f"{name}.png", draw)
        content = f"{kt.report.to_json(record, indent=1)}\n".encode()
        if self.config.results is not None:
            kt.report.write_whole(self.config.results / self.recipe / f"{self.case}.json", content)
        kt.report.write_whole(self.folder / "report.json", content)  # last: from here on the run is finished
        shutil.rmtree(self.folder / "parts", ignore_errors=True)
        print("", text, "", f"Pictures and report: {self.folder}", *places, sep="\n")
        return record

    @contextlib.contextmanager
    def _told(self, name):
        """Says how to go on, whatever ends what happens inside."""
        try:
            yield
        except BaseException:
            print(f"\n{name}: not finished. What is, is kept: go on with --resume {self.folder}", flush=True)
            raise

    def _keep(self):
        content = kt.report.to_json({**self.begun, "parts": self.parts}, indent=1)
        kt.report.write_whole(self.folder / "report.json", f"{content}\n".encode())

    def _save(self, network, file):
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        beside = path.with_suffix(".part.keras")
        network.save(beside)
        kt.report.put_whole(beside, path)

    def _load(self, file):
        hub = flat(self.config).get("backbone", "").startswith("hub:")  # whose modules are programs
        return keras.models.load_model(self.folder / file, safe_mode=not hub)


def flat(config):
    """Returns the settings `{name: value}` of a dataclass, those of dataclasses inside it among them."""
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        found |= flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


def check(config):
    """Raises an error for settings that a run would stumble over, once it had trained.

    Args:
        config: settings of a recipe.
    """
    for name, value in flat(config).items():
        option, values = f"--{name.replace('_', '-')}", value if isinstance(value, tuple) else (value,)
        if not values:
            raise ValueError(f"Expected at least one value of {option}; received none.")
        twice = sorted({one for one in values if values.count(one) > 1})
        if twice:
            raise ValueError(f"Expected each value of {option} once; received {twice} more than once.")
        for one in values:
            if isinstance(one, float) and not (math.isfinite(one) and one >= 0):
                raise ValueError(f"Expected {option} to be finite and at least 0; received {one}.")
            least = 0 if name in FROM_ZERO else 1
            if isinstance(one, int) and not isinstance(one, bool) and one < least:
                raise ValueError(f"Expected {option} to be at least {least}; received {one}.")
    for name in FOLDERS:
        folder = getattr(config, name, None)
        if folder is not None:
            check_folder(folder, f"--{name.replace('_', '-')}")
    for module, package in PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"Expected the package {package}: pip install 'keras_transfer[recipes]'.")


def check_folder(folder, option):
    """Raises an error where a folder could not be made or written to."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        raise NotADirectoryError(f"Expected {option} to be a folder; received {folder}, but {there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"Expected {option} to be a folder to write to; received {folder}, {there} is not.")


def _identity(config):
    """What must be the same for one run to go on where another stopped."""
    asked = _asked(config)
    paths = {name: [str(path.resolve()) for path in _paths(value)] for name, value in asked.items() if _paths(value)}
    return json.loads(kt.report.to_json({**asked, **paths, "keras_transfer": kt.__version__}))


def _paths(value):
    """The paths that a setting is made of."""
    return [path for path in (value if isinstance(value, tuple) else (value,)) if isinstance(path, pathlib.Path)]


def _asked(config):
    """The settings of what is computed, not of where it is kept."""
    return {name: value for name, value in flat(config).items() if name not in (*FOLDERS, "resume")}


def _new_folder(runs, name):
    runs.mkdir(parents=True, exist_ok=True)
    for number in range(1000):  # of runs that begin in one second
        folder = runs / (f"{name}-{number}" if number else name)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"Expected a new folder in {runs}; received {name}, of which there are a thousand.")


def _read_parts(folder, begun):
    file = folder / "report.json"
    if not file.is_file():
        raise ValueError(f"Expected --resume to be the folder of a run, with its report.json; received {folder}.")
    found = json.loads(file.read_text(encoding="utf-8"))
    if "parts" not in found:
        raise ValueError(
            f"Expected --resume to be the folder of an interrupted run; received {folder}, a finished one."
        )
    for name in ("recipe", "case"):
        if found[name] != begun[name]:
            raise ValueError(
                f"Expected a run of the {name} {begun[name]!r} to resume; received one of {found[name]!r}."
            )
    before, now = found["settings"], begun["settings"]
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        told = ", ".join(f"{name} {before.get(name)!r} before and {now.get(name)!r} now" for name in changed)
        raise ValueError(f"Expected the settings of the run to resume; received {told}.")
    return found["parts"]
