"""Characters rendered from the fonts that ship with matplotlib: simulated data with free labels, in any amount."""

import os
import unicodedata
from typing import NamedTuple

import numpy as np

SCRIPTS = ("latin", "greek", "cyrillic", "armenian", "georgian")

DEJAVU_FONTS = tuple(
    f"DejaVu{family}{style}"
    for family, slanted in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{slanted}", f"-Bold{slanted}")
)
_STIX_FONTS = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta")
_COMPUTER_MODERN_FONTS = ("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10")
FONTS = DEJAVU_FONTS + _STIX_FONTS + _COMPUTER_MODERN_FONTS


class Jitter(NamedTuple):
    """Ranges of a random affine map, each drawn uniformly and independently for each image.

    Args:
        rotation: Largest angle, to either side, in degrees.
        shear: Largest slant, to either side, in widths per height.
        scale: Largest change of size, up or down, as a fraction; smaller where the character would leave the image.
        translation: Largest shift from the centre, in each direction, as a fraction of the image's side; smaller where
            the character would leave the image.
    """

    rotation: float = 10.0
    shear: float = 0.2
    scale: float = 0.15
    translation: float = 0.1


class Glyphs(NamedTuple):
    """Images of characters, and what they show.

    Args:
        images: uint8 (n, image_size, image_size, 1), ink 255 on 0.
        labels: int32 (n,), the place of the image's character among the `characters` asked for.
        characters: str (n,), the character of each image.
        fonts: str (n,), the font of each image.
    """

    images: np.ndarray
    labels: np.ndarray
    characters: np.ndarray
    fonts: np.ndarray


def glyphs(characters, n=None, image_size=28, size=1.0, fonts=None, jitter=None, seed=0):
    """Renders characters in the fonts that ship with matplotlib.

    Each character is centred, and reduced where it would not fit, so that none is ever clipped.

    Args:
        characters: Distinct characters, as a string or list: the classes.
        n: Number of images, each of a random character in a random font that has it. By default each character
            once in each font, in that order.
        image_size: Side of the images in pixels.
        size: Font size as a fraction of `image_size`; digits and capitals are about 0.7 times as high.
        fonts: Names from `FONTS`, each of which must have every character. By default each character is drawn in
            all of `FONTS` that have it.
        jitter: A `Jitter`. By default `Jitter()` where `n` is given, and none where it is not.
        seed: Seed of characters, fonts and jitter.

    Returns:
        A `Glyphs` of images, labels, characters and fonts.

    Raises:
        ValueError: If a character is in no font, or not in one that was asked for; if a font is unknown.

    Example:
    >>> images, labels, characters, fonts = glyphs("0123456789", n=10000)
    >>> images.shape, images.dtype
    ((10000, 28, 28, 1), dtype('uint8'))
    """
    characters = list(characters)
    if not characters or len(set(characters)) < len(characters) or not all(map(_is_visible, characters)):
        raise ValueError(f"Expected `characters` to be distinct, single and visible; received {characters}.")
    if n is not None and n < 1:
        raise ValueError(f"Expected `n` to be at least 1 or None; received {n}.")
    if not isinstance(image_size, int) or image_size < 8 or not size > 0:
        raise ValueError(
            f"Expected `image_size` to be at least 8 and `size` positive; received {image_size!r}, {size!r}."
        )
    if jitter is None:
        jitter = Jitter() if n is not None else Jitter(0, 0, 0, 0)
    if not 0 <= jitter.scale < 1:
        raise ValueError(f"Expected the jitter's `scale` to be at least 0 and less than 1; received {jitter.scale}.")
    fonts_of = _fonts_of(characters, fonts)
    pairs = [(character, font) for character in characters for font in fonts_of[character]]
    counts = np.array([len(fonts_of[character]) for character in characters])

    rng = np.random.default_rng(seed)
    if n is None:
        labels, drawn = np.repeat(np.arange(len(characters)), counts), np.arange(len(pairs))
    else:
        labels = rng.integers(len(characters), size=n)
        drawn = (np.cumsum(counts) - counts)[labels] + (rng.random(n) * counts[labels]).astype(int)
    used, drawn = np.unique(drawn, return_inverse=True)
    pairs = [pairs[i] for i in used]
    masters, extents = _render(pairs, image_size, size)
    matrices, shifts = _affine(rng, extents[drawn], image_size, jitter)
    return Glyphs(
        _sample(masters, drawn, matrices, shifts, image_size),
        labels.astype(np.int32),
        np.array(characters)[labels],
        np.array([font for _, font in pairs])[drawn],
    )


def printed_digits(n=8000, image_size=28, seed=0):
    """Simulates printed digits: random digits in random fonts, slightly rotated, slanted, scaled and shifted.

    Each image has each digit with the same probability.

    Args:
        n: Number of images.
        image_size: Side of the images in pixels. The digits are about 0.85 times as high.
        seed: Seed of everything that is random.

    Returns:
        Tuple of images, uint8 (n, image_size, image_size, 1), ink 255 on 0, and labels, int32 (n,), 0-9.
    """
    images, labels, _, _ = glyphs("0123456789", n, image_size, size=1.2, seed=seed)
    return images, labels


def script_letters(script=None):
    """Returns the letters that all 12 DejaVu fonts have, as a string in the order of their code points.

    A letter is what Unicode calls one (categories L*, as in `str.isalpha`); its script is the first word of its
    name, or of the name of the character it is composed from.

    Args:
        script: One of `SCRIPTS`. By default all 1,511 letters: those of the five scripts, and 24 modifier letters that
            belong to none.

    Returns:
        A string, as `glyphs` takes it.

    Raises:
        ValueError: If the script is unknown.
    """
    if script is not None and script not in SCRIPTS:
        raise ValueError(f"Expected `script` to be one of {SCRIPTS} or None; received {script!r}.")
    common = set.intersection(*(set(_open(font).get_charmap()) for font in DEJAVU_FONTS))
    letters = (c for c in map(chr, sorted(common)) if c.isalpha())
    return "".join(c for c in letters if script is None or script_of(c) == script)


def script_of(letter):
    """Returns the one of `SCRIPTS` that a letter belongs to, or None."""
    base = unicodedata.normalize("NFKD", letter)[0]
    first_words = (unicodedata.name(c).split()[0].lower() for c in (letter, base))
    return next((word for word in first_words if word in SCRIPTS), None)


def _is_visible(character):
    return len(character) == 1 and character.isprintable() and not character.isspace()


def _open(font):
    try:
        import matplotlib
        from matplotlib.ft2font import FT2Font
    except ImportError as error:
        raise ImportError("The fonts ship with matplotlib: pip install 'keras_transfer[recipes]'") from error
    if font not in FONTS:
        raise ValueError(f"Expected fonts from {FONTS}; received {font!r}.")
    return FT2Font(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", font + ".ttf"))


def _fonts_of(characters, fonts):
    """Returns the names of each character's fonts, as a dict."""
    if fonts is not None and not fonts:
        raise ValueError("Expected `fonts` to name at least one font; received none.")
    opened = {name: _open(name) for name in (FONTS if fonts is None else fonts)}
    fonts_of = {}
    for character in characters:
        found = [name for name in opened if _has(name, opened[name], character)]
        if not found or (fonts is not None and len(found) < len(opened)):
            missing = ", ".join(name for name in opened if name not in found)
            raise ValueError(f"Expected characters that the fonts have; received {character!r}, missing in {missing}.")
        fonts_of[character] = found
    return fonts_of


def _has(name, font, character):
    if name in _COMPUTER_MODERN_FONTS:  # their other code points hold TeX's characters
        return character.isascii() and character.isalnum()
    return font.get_char_index(ord(character)) != 0


def _render(pairs, image_size, size):
    """Renders each (character, font) at twice the resolution of the image, centred.

    Returns:
        Tuple of masters, uint8 (n, side, side), in which [i, j] is the mean of the four pixels that meet at (i, j), so
        that sampling every second one does not alias, and of extents (n, 2): half of the characters' width and height
        in pixels of the image.
    """
    from matplotlib.ft2font import LoadFlags

    limit = 2 * image_size
    side = limit + 4
    masters = np.zeros((len(pairs), side, side), np.uint8)
    extents = np.empty((len(pairs), 2))
    opened = {name: _open(name) for _, name in pairs}
    for i, (character, name) in enumerate(pairs):
        font, em = opened[name], size * limit
        while True:
            font.set_size(em, 72)
            font.set_text(character, flags=LoadFlags.NO_HINTING)
            font.draw_glyphs_to_bitmap()
            ink = np.asarray(font.get_image())
            if max(ink.shape) <= limit:
                break
            em *= 0.99 * limit / max(ink.shape)
        height, width = ink.shape
        top, left = (side - height) // 2, (side - width) // 2
        canvas = np.zeros((side, side), np.uint16)
        canvas[top : top + height, left : left + width] = ink
        masters[i, 1:, 1:] = (canvas[:-1, :-1] + canvas[:-1, 1:] + canvas[1:, :-1] + canvas[1:, 1:] + 2) // 4
        extents[i] = np.maximum([width, height], 1) / 4  # at least a point, where there is no ink
    return masters, extents


def _affine(rng, extents, image_size, jitter):
    """Draws maps of a character's coordinates to the image's, both (x, y) from the centre: matrices and shifts."""
    n, half = len(extents), image_size / 2
    angle, slant, scale = rng.uniform(-1, 1, (3, n)) * [[np.deg2rad(jitter.rotation)], [jitter.shear], [jitter.scale]]
    cos, sin = np.cos(angle), np.sin(angle)
    matrices = np.array([[cos, cos * slant - sin], [sin, sin * slant + cos]]).transpose(2, 0, 1)
    matrices *= (1 + scale)[:, None, None]
    reach = np.einsum("nij,nj->ni", np.abs(matrices), extents)
    fit = np.minimum(1, half / reach.max(axis=1, keepdims=True))
    room = half - reach * fit
    shifts = rng.uniform(-1, 1, (n, 2)) * np.minimum(jitter.translation * image_size, room)
    return matrices * fit[:, :, None], shifts


def _sample(masters, which, matrices, shifts, image_size, chunk=500):
    """Draws `masters[which]` through the maps, bilinearly, into uint8 images (n, image_size, image_size, 1)."""
    side = masters.shape[1]
    ticks = np.arange(image_size) - (image_size - 1) / 2
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    inverses = 2 * np.linalg.inv(matrices)
    images = np.empty((len(which), image_size**2), np.uint8)
    for i in range(0, len(which), chunk):
        part = slice(i, i + chunk)
        points = (grid - shifts[part, None]) @ inverses[part].transpose(0, 2, 1) + side / 2
        points = np.clip(points, 0, side - 1.001).astype(np.float32)
        corner = points.astype(np.int32)
        x, y = np.moveaxis(points - corner, -1, 0)
        at = which[part, None] * side**2 + corner[..., 1] * side + corner[..., 0]
        above = masters.take(at) * (1 - x) + masters.take(at + 1) * x
        below = masters.take(at + side) * (1 - x) + masters.take(at + side + 1) * x
        images[part] = above * (1 - y) + below * y + 0.5
    return images.reshape(-1, image_size, image_size, 1)
