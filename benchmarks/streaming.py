"""Pictures on disk against pictures in memory: `python -m benchmarks.streaming`.

A pass of `kt.streams.images` over 20,000 PNG files of 64 pixels (hard links to 200), shuffled, in batches of 100: how
far the memory of the process grows above what it was after the first batch, and the time, beside the floor, which is to
read the same files with as many threads and keep none. Prints, and writes results/streaming.json.
"""

import argparse
import functools
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import keras_transfer as kt
from benchmarks import timing

ROOT = Path(__file__).resolve().parents[1]
FILES, ORIGINALS, SIDE, BATCH = 20_000, 200, 64, 100


def write(folder):
    """Writes the files; returns them."""
    rng = np.random.default_rng(0)
    (folder / "many" / "one").mkdir(parents=True)
    for number in range(ORIGINALS):
        colours = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((SIDE, SIDE)).save(folder / f"{number}.png")
    for number in range(FILES):
        os.link(folder / f"{number % ORIGINALS}.png", folder / "many" / "one" / f"{number}.png")
    return kt.datasets.image_files(folder / "many", SIDE)


def resident():
    """Returns the megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def streamed(stream, growth):
    """Passes over the stream; notes how far the memory grew."""
    batches = iter(stream)
    next(batches)
    before = resident()
    growth.append(max(resident() for _ in batches) - before)


def read(files):
    """Reads all files, a batch at a time."""
    for start in range(0, len(files), BATCH):
        files[start : start + BATCH]


def main(rounds, output):
    """Measures, prints, writes."""
    with tempfile.TemporaryDirectory() as folder:
        files, growth = write(Path(folder)), []
        stream = kt.streams.images(files, BATCH)
        run = {"stream": functools.partial(streamed, stream, growth), "floor": functools.partial(read, files)}
        found = timing.turns(run, rounds)
    medians = timing.medians(found.seconds)
    result = {
        "megabytes_grown": max(growth),
        "megabytes_of_all": FILES * SIDE * SIDE * 3 / 2**20,
        "ratio": medians["stream"] / medians["floor"],
        "median_seconds": medians,
    }
    timing.write({**result, "seconds": found.seconds, "load_average": found.load_average}, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="passes of each (default: 3)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "streaming.json", help="where to write")
    main(**vars(parser.parse_args()))
