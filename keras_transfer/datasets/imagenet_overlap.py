"""Which classes a backbone that was trained on ImageNet has seen, by their names."""

import re


def imagenet_overlap(names):
    """Finds classes that ImageNet's 1,000 have too: for a backbone that was trained on those they are not unseen.

    A class counts where all words of its name are in one of ImageNet's, or the other way round: "tiger" is "tiger" and
    "tiger cat", "zebra crossing" is "zebra". Synonyms are not found.

    Args:
        names: Names of classes, such as "killer whale" or "killer+whale".

    Returns:
        Dict of those names to lists of the classes of ImageNet.

    Raises:
        ImportError: If keras_hub, which lists the classes, is missing.

    Example:
    >>> imagenet_overlap(["zebra", "unicorn"])
    {'zebra': ['zebra']}
    """
    try:
        from keras_hub.utils import imagenet_id_to_name
    except ImportError as error:
        raise ImportError(
            "The names of ImageNet's classes come with keras_hub: pip install 'keras_transfer[keras_hub]'."
        ) from error
    known = {imagenet_id_to_name(number): None for number in range(1000)}
    words = {name: _words(name) for name in known}
    found = {name: [other for other in known if _same(_words(name), words[other])] for name in names}
    return {name: others for name, others in found.items() if others}


def _words(name):
    return frozenset(re.findall("[a-z]+", str(name).lower()))


def _same(first, second):
    return bool(first and second) and (first <= second or second <= first)
