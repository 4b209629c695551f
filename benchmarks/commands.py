"""How long each verb of `keras-transfer` takes on real pictures and backbones: `python -m benchmarks.commands`.

Every verb runs once as a user would type it, in a process of its own: on PACS, Office-31 and Adult from
KERAS_TRANSFER_DATA, with MobileNet as a TF Hub module and EfficientNet-Lite0 as a .keras file. Each ends with a
verified export. `--environment` names the folder of another virtual environment whose `keras-transfer` is called, such
as a fresh one that holds nothing but the wheel and its extras. Prints, and writes results/commands.json after each.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import keras

import keras_transfer as kt

DATA = pathlib.Path(os.environ.get("KERAS_TRANSFER_DATA", "."))
HUB = f"hub:{DATA / 'hub/mobilenet_v1_pw12_feature_vector'}"


def commands(folder):
    """Returns `{name: arguments}` of what is run, in this order: some use what others left in the folder."""
    pacs, office, lite = DATA / "pacs", DATA / "office31", f"file:{with_preprocessing(folder)}"
    model = "runs/art_painting-*/model.keras"
    requests = ["--model", model, "--images", pacs / "art_painting", "--trust"]
    few = ["--labels-per-class", 10, "--seeds", 0, 1, "--rates", 3e-4]
    tasks = ["income-per-year", "marital-status", "hours-per-week"]
    return {
        "fine-tune, paintings": ["fine-tune", "--images", pacs / "art_painting", "--backbone", HUB, *few],
        "fine-tune, Office-31": ["fine-tune", "--images", office / "amazon", "--backbone", lite, *few],
        "adapt, photos to paintings": [
            *("adapt", "--source", pacs / "photo", "--target", pacs / "art_painting", "--target-labels"),
            *("--backbone", HUB),
        ],
        "adapt, Office-31": [
            *("adapt", "--source", office / "amazon", "--target", office / "webcam_unlabelled", "--backbone", lite)
        ],
        "few-shot, Office-31": ["few-shot", "--images", office / "amazon", "--backbone", lite, "--seeds", 0],
        "pretrain, cartoons": [
            *("pretrain", "--images", pacs / "cartoon", "--image-size", 32, "--epochs", 10, "--seeds", 0, 1),
            *("--steps", 200),
        ],
        "multi-task, Adult": [
            *("multi-task", "--csv", DATA / "adult/adult.csv", "--tasks", *tasks, "--leave-out", "relationship"),
            *("--seeds", 0, "--steps", 500),
        ],
        "choose, paintings": [
            *("choose", "--images", pacs / "art_painting", "--backbones", "small_cnn", HUB, "--minutes", 3),
            *("--most", 140),
        ],
        "export": ["export", *requests, "--classes", *kt.datasets.PACS_CLASSES, "--name", "art"],
        "verify": ["verify", *requests, "--export", "saved_models/art"],
        "zoo": ["zoo", "--name", "digits_adapted", "--saved-models", "saved_models"],
    }


def with_preprocessing(folder):
    """Writes EfficientNet-Lite0 with its own preprocessing, from pictures in 0-255 to features; returns the path."""
    body = keras.models.load_model(DATA / "weights/efficientnet_lite0_notop.keras")
    images = keras.Input((128, 128, 3), name="images")
    scaled = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(images)
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(body(scaled)), name="efficientnet_lite0")
    path = pathlib.Path(folder, "efficientnet_lite0.keras")
    model.save(path)
    return path


def run(command, arguments, folder):
    """Runs a verb in a folder; returns its seconds, those of cores, and the largest difference of an export or None."""
    found = [
        str(next(pathlib.Path(folder).glob(word))) if isinstance(word, str) and "*" in word else str(word)
        for word in arguments
    ]
    start, used = time.perf_counter(), core_seconds()
    ended = subprocess.run([command, *found], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - start
    if ended.returncode:
        raise RuntimeError(f"{' '.join(found)} ended with {ended.returncode}:\n{ended.stdout[-3000:]}")
    told = [line.split()[-1] for line in ended.stdout.splitlines() if "argest difference" in line]
    differences = {"largest_difference": max(map(float, told), default=None)}
    return {"seconds": seconds, "core_seconds": core_seconds() - used, **differences}


def core_seconds():
    """Returns the seconds that cores have worked for processes that this one started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    """Runs every verb, and writes how long each took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--environment", type=pathlib.Path, help="folder of another virtual environment")
    parser.add_argument("--only", nargs="*", help="names of the runs; by default all")
    options = parser.parse_args()
    own = pathlib.Path(sys.executable).parent
    command = str((options.environment / "bin" if options.environment else own) / "keras-transfer")
    path = pathlib.Path("results/commands.json")
    measured = json.loads(path.read_text(encoding="utf-8")) if options.only and path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in commands(folder).items():
            if options.only and name not in options.only:
                continue
            shared = ["--runs", "runs"] if arguments[0] not in ("export", "verify", "zoo") else []
            measured[name] = run(command, [*arguments, *shared], folder)
            print(name, measured[name], flush=True)
            kt.report.write_whole(path, f"{kt.report.to_json(measured, indent=1)}\n".encode())


if __name__ == "__main__":
    main()
