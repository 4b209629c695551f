"""Photographs in folders, one folder for each class."""

from pathlib import Path

from keras_transfer.datasets.image_files import checked_names, classes_in, image_files


def image_folder(path, image_size=None, class_names=None, ground=255):
    """Loads photographs from `<path>/<class>/`, in the order of class and file name.

    Reads .jpg, .jpeg, .png, .webp, .bmp, .tif, .tiff and .gif, the first frame of each. Photographs are turned upright
    as their EXIF data says; 16 bits are scaled from 0-65,535 and floats from 0-1; what is transparent is laid on
    `ground`. Hidden files and folders are passed over, and so are files that are no pictures; a folder `unlabelled`
    beside the classes is none. For more pictures than memory holds: `image_files`.

    Several folders of one study, such as two domains, must number their classes alike: load them with `image_folders`,
    or pass `class_names`.

    Args:
        path: folder of one folder for each class, which is named after it.
        image_size: side of the images in pixels, or a pair `(height, width)`: the largest centred part of that shape,
            bilinearly resized. None leaves the images as they are; they must then have one size.
        class_names: names of the classes in the order of their labels; a class without a folder has no rows. None: the
            folder's own, sorted.
        ground: int 0-255, the grey under transparent pixels; 255 is the white of paper.

    Returns:
        Tuple of images, uint8 (n, height, width, 3), 0-255; labels, int32 (n,), the indices of the class names; and
        the tuple of class names.

    Raises:
        ValueError: If there is no such folder, it has no folders of classes or others than `class_names`, a class has
            no photographs, photographs lie beside or below the folders of classes, where they belong to no class, a
            file is unreadable or of a format that is not read (named), `class_names` has one name twice, or the images
            differ in size and `image_size` is None.
        ImportError: If Pillow is missing.

    Example:

    ```python
    images, labels, class_names = kt.datasets.image_folder("my_photos", image_size=128)
    ```
    """
    files = image_files(path, image_size, class_names=class_names, ground=ground)
    return files[:], files.labels, files.class_names


def image_folders(paths, image_size=None, class_names=None, ground=255):
    """Loads several folders of one study, such as the domains of an adaptation, with one numbering of the classes.

    Args:
        paths: dict of names to folders, each as `image_folder` reads it.
        image_size: see `image_folder`; all folders then have images of one size.
        class_names: names of the classes in the order of their labels, of which a folder may lack some. None: those of
            the folders, sorted, which must then be the same in all of them.
        ground: see `image_folder`.

    Returns:
        Tuple of the dict of the same names to pairs `(images, labels)`, and of the tuple of class names.

    Raises:
        ValueError: If the folders have different classes and `class_names` is None, or what `image_folder` raises.
        ImportError: If Pillow is missing.

    Example:

    ```python
    domains, class_names = kt.datasets.image_folders({"source": "renders", "target": "photos"}, image_size=128)
    stream = kt.streams.domains(domains["source"], domains["target"][0], classes=len(class_names))
    ```
    """
    if not isinstance(paths, dict) or not paths:
        raise ValueError(f"Expected `paths` to be a dict of names to folders; received {paths!r}.")
    if class_names is None:
        found = {name: set(classes_in(Path(path))) for name, path in paths.items()}
        class_names = tuple(sorted(set().union(*found.values())))
        lacking = {name: tuple(sorted(set(class_names) - classes)) for name, classes in found.items()}
        if any(lacking.values()):
            lacks = ", ".join(f"{name!r} lacks {missing}" for name, missing in lacking.items() if missing)
            raise ValueError(
                f"Expected the same classes in all folders; received folders of which {lacks}. If they are named as "
                f"they should be, pass class_names={class_names}."
            )
    loaded = {name: image_folder(path, image_size, class_names, ground)[:2] for name, path in paths.items()}
    return loaded, checked_names(class_names)
