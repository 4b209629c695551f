"""Kills a recipe, or an export, at random places; run as `python -m tests.faults <folder> <exports> <recipes>`.

TensorFlow is imported once: each try is a fork of a process that has run nothing yet. A try kills itself, as `kill -9`
does, before or after one of its calls that change files, or after a while.
"""

import builtins
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.recipes import maml_sinusoid

CALLS = ("replace", "rename", "mkdir", "fsync", "unlink", "rmdir")  # of `os`, in which those of `pathlib` end
KILLED, FAILED = -signal.SIGKILL, 1


def config(folder, resume=None):
    """Settings of a run that takes some seconds."""
    maml_sinusoid.RATES = (0.01,)
    folders = {name: folder / name for name in ("runs", "saved_models", "results")}
    short = {"iterations": 100, "tasks": 2, "test_tasks": 10, "test_steps": 1, "seeds": (0, 1)}
    return maml_sinusoid.Config(**short, **folders, resume=resume)


def recipe(folder):
    """Runs the recipe, from where an earlier try in that folder was stopped."""
    begun = [path.parent for path in (folder / "runs").glob("*/report.json") if "parts" in json.loads(path.read_text())]
    maml_sinusoid.main(config(folder, max(begun, default=None)))


def export(folder):
    """Exports one model, whose answers are known."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.set_weights([np.ones((3, 2)), np.zeros(2)])
    kt.export(model, folder / "saved_models" / "sums", np.ones((4, 3), "float32"), verify=False)


def fork(job, folder, kill=None):
    """Runs a job in a fork; returns its exit status, the number of its calls that change files, and its seconds.

    Args:
        job: function of a folder.
        folder: path.
        kill: where the fork kills itself: the number of a call, negative if the call is not made any more; or a float,
            the seconds after which it does; or None.
    """
    reader, writer = os.pipe()
    start, child = time.perf_counter(), os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            with open(folder.parent / f"{folder.name}.txt", "a") as printed:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
            if isinstance(kill, float):
                threading.Timer(kill, os.kill, (os.getpid(), signal.SIGKILL)).start()
            count(kill, writer)
            job(folder)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        calls = len(pipe.read())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, calls, time.perf_counter() - start


def count(kill, writer):
    """Reports each call that changes files as a byte, and ends the process at the one to be killed at."""
    made = 0

    def counted(function, changes=lambda *args, **kwargs: True):
        def call(*args, **kwargs):
            nonlocal made
            if not changes(*args, **kwargs):
                return function(*args, **kwargs)
            made += 1
            number = made  # the call may make others
            os.write(writer, b".")
            if kill == -number:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return function(*args, **kwargs)
            finally:  # also where it fails, as `mkdir` does on a folder that exists
                if kill == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    os.open = counted(os.open, lambda path, flags, *args, **kwargs: flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    builtins.open = counted(open, lambda file, mode="r", *args, **kwargs: set(mode) & set("wxa+"))


def check_whole(folder):
    """Checks that a server, and a person, would see nothing that is not whole; returns what exports answer."""
    answers = []
    for version in (folder / "saved_models").glob("*/[0-9]*"):
        assert (version / "assets.extra/card.json").is_file(), version
        served = tf.saved_model.load(str(version)).signatures["serving_default"]
        _, inputs = served.structured_input_signature
        ones = {name: tf.ones([2, *spec.shape[1:]], spec.dtype) for name, spec in inputs.items()}
        answers.append({name: value.numpy().tolist() for name, value in served(**ones).items()})
    for report in (folder / "runs").glob("*/report.json"):
        json.loads(report.read_text())
    return answers


def found(folder):
    """What the recipe found, without the seconds that it took."""
    record = json.loads((folder / "results/maml_sinusoid/10.json").read_text())
    return {name: record[name] for name in ("mean_squared_error", "fine_tuning_rates", "config")}


def hidden(folder):
    """What killed processes left."""
    return [path for path in folder.rglob(".whole-*")]


def ends(job, folder, status=0):
    """Runs a job in a fork, which must end with a status; returns its calls and seconds."""
    ended, calls, seconds = fork(job, folder)
    printed = (folder.parent / f"{folder.name}.txt").read_text()
    assert ended == status, f"{job.__name__} ended with {ended} instead of {status}:\n{printed[-3000:]}"
    return calls, seconds


def dies(job, folder, kill):
    """Kills a job, by the clock sooner where it was done by then; returns where it was killed."""
    ended = fork(job, folder, kill)[0]
    if ended == 0 and isinstance(kill, float):
        return dies(job, folder, kill / 2)
    assert ended == KILLED, f"{job.__name__} ended with {ended}, kill {kill}"
    return kill


def places(rng, number, calls, seconds):
    """Draws where to kill: at calls, before or after they are made, and by the clock."""
    return [
        rng.choice((rng.randint(1, calls), -rng.randint(1, calls), rng.uniform(0.1, seconds))) for _ in range(number)
    ]


def kill_recipe(folder, rng, kills):
    """Kills the recipe, resumes it, and compares what it reports with a run that was never killed."""
    calls, seconds = ends(recipe, folder / "whole")
    whole, killed = found(folder / "whole"), []
    for number, kill in enumerate(places(rng, kills, calls, 0.8 * seconds)):
        broken = folder / f"run{number}"
        broken.mkdir()
        killed.append(dies(recipe, broken, kill))
        ends(check_whole, broken)
        ends(recipe, broken)
        assert found(broken) == whole, kill
        assert not hidden(broken), kill
        shutil.rmtree(broken)
    return {"killed": killed, "calls": calls, "seconds": seconds}


def kill_export(folder, rng, kills):
    """Kills the export again and again in one folder; what it leaves, the next export removes."""
    folder = folder / "sums"
    folder.mkdir()
    calls, seconds = ends(export, folder)
    killed = []
    for kill in places(rng, kills, calls, 0.8 * seconds):
        killed.append(dies(export, folder, kill))
        ends(check_whole, folder)
    ends(export, folder)
    assert not hidden(folder)
    return {"killed": killed, "calls": calls, "seconds": seconds}


def fill_disk(folder, jobs):
    """Runs jobs on a disk that is full, then with space; returns whether such a disk could be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", disk], capture_output=True).returncode:
        return False
    try:
        filler = disk / "filler"
        for job in jobs:
            (disk / job.__name__).mkdir()
            filler.write_bytes(bytes(shutil.disk_usage(disk).free - 16384))
            ends(job, disk / job.__name__, status=FAILED)
            filler.unlink()
            ends(check_whole, disk / job.__name__)
        assert not hidden(disk)
        for job in jobs:
            ends(job, disk / job.__name__)
            ends(check_whole, disk / job.__name__)
        if recipe in jobs:
            assert found(disk / "recipe") == found(folder / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)
    return True


def main(folder, exports, recipes):
    """Kills an export and a recipe so many times, and fills a disk; prints what was done as JSON."""
    rng, jobs = random.Random(0), [export]
    told = {"export": kill_export(folder, rng, exports)}
    if recipes:
        jobs.append(recipe)
        told["recipe"] = kill_recipe(folder, rng, recipes)
    print(json.dumps({**told, "full_disk": fill_disk(folder, jobs)}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
