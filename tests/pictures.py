"""Small pictures on disk for tests of what reads them."""

import numpy as np
from PIL import Image


def numbered(folder, rows, side=4, classes=2):
    """Writes `<folder>/<class>/<number>.png`, whose pixels all are the picture's number; returns the folder.

    Row i of `image_files` is then picture `order[i]`, with the numbers of a class one after another.
    """
    for number in range(rows):
        target = folder / str(number % classes)
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((side, side, 3), number, np.uint8)).save(target / f"{number:03}.png")
    return folder
