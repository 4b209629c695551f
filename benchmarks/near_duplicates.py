"""Near duplicates among real pictures: `python -m benchmarks.near_duplicates`.

Of each folder in the data that KERAS_TRANSFER_DATA names: how many pairs `kt.datasets.near_duplicates` finds, and which
share of copies, reduced and encoded as JPEG, is found again; beside the difference hash of 64 bits (N. Krawetz, "Kind
of Like That", 2013), of which at most 4 differ. What is a pair and no copy was not counted by eye: fewer pairs at as
many copies found are fewer false ones. Prints, and writes results/near_duplicates.json.
"""

import argparse
import io
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

import keras_transfer as kt
from benchmarks import timing

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = "pacs/photo", "pacs/art_painting", "pacs/cartoon", "office31/amazon"
COPIES = (128, 50), (64, 75), (48, 60)  # side in pixels, quality
BITS = 4


def copied(image, side, quality):
    """Returns a picture reduced to a side and encoded as JPEG of a quality."""
    file = io.BytesIO()
    Image.fromarray(image).resize((side, side)).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def hashes(images):
    """Returns the difference hashes, bits (n, 64): whether each of 8 x 9 grey areas is darker than its neighbour."""
    small = [np.asarray(Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX)) for image in images]
    return (np.diff(np.stack(small).astype(int), axis=2) > 0).reshape(len(small), -1)


def pairs_of_hashes(bits):
    """Returns how many pairs differ in at most `BITS` bits."""
    ones = bits.astype(np.float32)
    counts = ones.sum(1)
    differing = counts[:, None] + counts - 2 * ones @ ones.T
    return int(np.triu(differing <= BITS, 1).sum())


def measure(folder):
    """Returns what is found in one folder."""
    images = kt.datasets.image_files(folder, 128)[:]
    start = time.perf_counter()
    small = kt.datasets.thumbnails(images)
    pairs = len(kt.datasets.near_duplicates(small))
    seconds, bits = time.perf_counter() - start, hashes(images)
    found = {"pictures": len(images), "pairs": pairs, "seconds": seconds, "hash_pairs": pairs_of_hashes(bits)}
    for side, quality in COPIES:
        copies = np.stack([copied(image, side, quality) for image in images])
        again = (small * kt.datasets.thumbnails(copies)).sum(axis=1) >= 0.985
        by_hash = (bits != hashes(copies)).sum(axis=1) <= BITS
        found[f"copies of {side} pixels, quality {quality}"] = {
            "found": float(again.mean()),
            "hash_found": float(by_hash.mean()),
        }
    return found


def main(data, output):
    """Measures, prints, writes."""
    timing.write({folder: measure(data / folder) for folder in FOLDERS}, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("KERAS_TRANSFER_DATA"), help="folder of the data")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "near_duplicates.json", help="where to write")
    main(**vars(parser.parse_args()))
