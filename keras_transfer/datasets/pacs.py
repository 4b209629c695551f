"""PACS: seven classes in photographs, art paintings, cartoons and sketches."""

from keras_transfer.datasets.files import data_folder
from keras_transfer.datasets.image_folder import image_folder

PACS_DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
PACS_CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


def pacs(domain, image_size=None):
    """Loads one domain of PACS; the full release has 1,670 photos, 2,048 art paintings, 2,344 cartoons, 3,929 sketches.

    Reads `$KERAS_TRANSFER_DATA/pacs/<domain>/<class>/*.jpg` or `.png`. PACS is not downloaded: its authors ask for
    research use, and there is no lasting address.

    Args:
        domain: `"photo"`, `"art_painting"`, `"cartoon"` or `"sketch"`.
        image_size: Side of the images in pixels, or a pair (height, width), bilinearly resized. By default as they are
            on disk.

    Returns:
        Tuple of images, uint8 (n, height, width, 3), 0-255, and labels, int32 (n,), the indices of
        `PACS_CLASSES`.

    Raises:
        ValueError: If the domain is unknown, its folder is missing or holds other classes, or a file is unreadable.
        ImportError: If Pillow is missing.

    Reference: D. Li, Y. Yang, Y.-Z. Song, T. M. Hospedales, "Deeper, Broader and Artier Domain Generalization",
    ICCV 2017, arXiv:1710.03077.
    """
    if domain not in PACS_DOMAINS:
        raise ValueError(f"Expected `domain` to be one of {PACS_DOMAINS}; received {domain!r}.")
    folder = data_folder("pacs")
    if folder is None or not (folder / domain).is_dir():
        found = "no such variable" if folder is None else f"no folder {folder / domain}"
        raise ValueError(
            f"Expected PACS in the folder that KERAS_TRANSFER_DATA names, as pacs/{domain}/<class>/*.jpg with the "
            f"classes {', '.join(PACS_CLASSES)}; received {found}. It is not downloaded: get it from its authors."
        )
    images, labels, _ = image_folder(folder / domain, image_size, PACS_CLASSES)
    lacking = tuple(name for label, name in enumerate(PACS_CLASSES) if label not in labels)
    if lacking:
        raise ValueError(f"Expected the classes {PACS_CLASSES} in {folder / domain}; received none of {lacking}.")
    return images, labels
