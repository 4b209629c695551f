import sys
import time
import unicodedata

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from keras_transfer.datasets import (
    DEJAVU_FONTS,
    FONTS,
    SCRIPTS,
    Jitter,
    digits,
    glyphs,
    printed_digits,
    script_letters,
)
from keras_transfer.datasets.glyphs import _open


def test_each_character_once_in_each_font():
    images, labels, characters, fonts = glyphs("7A")
    assert images.shape == (2 * 21, 28, 28, 1) and images.dtype == np.uint8 and labels.dtype == np.int32
    assert images.min() == 0 and images.max() == 255
    np.testing.assert_array_equal(labels, [0] * 21 + [1] * 21)
    np.testing.assert_array_equal(characters, ["7"] * 21 + ["A"] * 21)
    np.testing.assert_array_equal(fonts, FONTS * 2)
    assert len({image.tobytes() for image in images}) == 42
    np.testing.assert_array_equal(images, glyphs("7A", seed=1).images)  # nothing is random here


def test_area_and_place_are_those_of_the_outline():
    # independent of rendering: the polygons of matplotlib's outlines, by the shoelace formula
    for character, font in (("H", "DejaVuSans"), ("L", "STIXGeneral"), ("T", "cmr10")):
        path = TextPath((0, 0), character, size=64, prop=_properties(font))
        area = sum(_shoelace(polygon) for polygon in path.to_polygons())
        image = glyphs([character], image_size=64, fonts=[font]).images[0, ..., 0] / 255
        assert image.sum() == pytest.approx(abs(area), rel=0.02)
        (left, top), (right, bottom) = path.get_extents().get_points()
        rows, columns = np.nonzero(image > 0.5)
        assert np.ptp(columns) + 1 == pytest.approx(right - left, abs=1.1)
        assert np.ptp(rows) + 1 == pytest.approx(bottom - top, abs=1.1)
        assert columns.min() + columns.max() == pytest.approx(63, abs=1)  # centred
        assert rows.min() + rows.max() == pytest.approx(63, abs=1)


def _properties(font):
    return FontProperties(fname=_open(font).fname)


def _shoelace(polygon):
    x, y = polygon.T
    return (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2


def test_jitter_is_the_affine_map_it_says():
    # told from the ink's centre, its principal axis, its covariance and its amount
    upright = glyphs("L", image_size=96, size=0.5, fonts=["DejaVuSans"]).images[0, ..., 0]
    mean, covariance = _moments(upright)
    images = glyphs("L", 300, 96, 0.5, ["DejaVuSans"], Jitter(20, 0, 0, 0)).images[..., 0]
    angles = [(_angle(_moments(image)[1]) - _angle(covariance) + 90) % 180 - 90 for image in images]
    assert -20.5 < min(angles) < -18 and 18 < max(angles) < 20.5
    images = glyphs("L", 300, 96, 0.5, ["DejaVuSans"], Jitter(0, 0.3, 0, 0)).images[..., 0]
    for image in images[:50]:
        changed = _moments(image)[1]
        slant = (changed[0, 1] - covariance[0, 1]) / covariance[1, 1]
        assert changed[1, 1] == pytest.approx(covariance[1, 1], rel=0.02) and abs(slant) < 0.31
    images = glyphs("L", 300, 96, 0.5, ["DejaVuSans"], Jitter(0, 0, 0.2, 0)).images[..., 0]
    scales = np.sqrt([image.sum() / upright.sum() for image in images.astype(float)])
    assert 0.79 < scales.min() < 0.82 and 1.18 < scales.max() < 1.21
    images = glyphs("L", 300, 96, 0.5, ["DejaVuSans"], Jitter(0, 0, 0, 0.1)).images[..., 0]
    shifts = np.array([_moments(image)[0] for image in images]) - mean
    assert (np.abs(shifts).max(axis=0) < 9.7).all() and (np.ptp(shifts, axis=0) > 18).all()


def _moments(image):
    y, x = np.indices(image.shape)
    points = np.stack([x.ravel(), y.ravel()])
    return np.average(points, axis=1, weights=image.ravel()), np.cov(points, aweights=image.ravel())


def _angle(covariance):
    (a, b), (_, d) = covariance
    return np.rad2deg(np.arctan2(2 * b, a - d) / 2)


def test_nothing_is_clipped():
    characters = "1WJÅ"
    upright = glyphs(characters, image_size=40, size=0.6, fonts=["DejaVuSerif"]).images.sum(axis=(1, 2, 3), dtype=int)
    shifted = glyphs(characters, 200, 40, 0.6, ["DejaVuSerif"], Jitter(40, 0.3, 0, 0.5))  # area and so ink stay
    ink = shifted.images.sum(axis=(1, 2, 3), dtype=int)
    np.testing.assert_allclose(ink, upright[shifted.labels], rtol=0.03)
    assert (shifted.images.max(axis=(1, 3))[:, [0, -1]] > 0).any()  # and yet they go as far as the border
    upright = glyphs("1W", image_size=40, size=3.0, fonts=["DejaVuSans"]).images[..., 0]
    rows, columns = np.nonzero(upright[1] > 127)
    assert columns.min() <= 1 and columns.max() >= 38 and rows.min() > 3  # reduced until its width fits


def test_random_draws_are_balanced_and_seeded():
    drawn = glyphs("aα", n=4000, image_size=16, seed=5)
    counts = np.bincount(drawn.labels)
    assert abs(counts[0] - 2000) < 160  # five standard deviations of a fair coin
    latin = drawn.fonts[drawn.labels == 0]
    assert set(latin) == set(FONTS) and np.unique(latin, return_counts=True)[1].min() > 2000 / 21 / 2
    assert set(drawn.fonts[drawn.labels == 1]) == {font for font in FONTS if not font.startswith("cm")}
    np.testing.assert_array_equal(drawn.characters, np.array(["a", "α"])[drawn.labels])
    for one, two in zip(drawn, glyphs("aα", n=4000, image_size=16, seed=5)):
        np.testing.assert_array_equal(one, two)
    assert (drawn.images != glyphs("aα", n=4000, image_size=16, seed=6).images).any()


def test_computer_modern_is_used_only_where_it_has_the_character():
    # its code points beyond ASCII hold other characters (² is the ligature ffl); names are the font's own
    drawn = glyphs([c for c in map(chr, range(256)) if c.isalnum()], image_size=8)
    faces = {font: _open(font) for font in FONTS if font.startswith("cm")}
    names = {str(i): unicodedata.name(str(i)).split()[1].lower() for i in range(10)}
    seen = set()
    for font, character in zip(drawn.fonts, drawn.characters):
        if font in faces:
            name = faces[font].get_glyph_name(faces[font].get_char_index(ord(character)))
            assert name == names.get(character, character)
            seen.add((font, character))
    assert len(seen) == 5 * 62


def test_script_letters():
    letters = script_letters()
    assert len(letters) == len(set(letters)) == 1511
    by_script = {script: script_letters(script) for script in SCRIPTS}
    for script, found in by_script.items():
        assert list(found) == [c for c in letters if c in set(found)]
        assert {c for c in letters if unicodedata.name(c).startswith(script.upper())} <= set(found)
    assert len(letters) - sum(map(len, by_script.values())) == 24
    assert set("abcxyzABCXYZßÅ") <= set(by_script["latin"]) and set("αβγΩ") <= set(by_script["greek"])
    assert set("бжЯ") <= set(by_script["cyrillic"])
    lowercase = [c for c in by_script["greek"] if c.islower()][:20]
    assert len(glyphs(lowercase, fonts=DEJAVU_FONTS).images) == 20 * 12
    with pytest.raises(ValueError, match="one of .*'latin'.* received 'runic'"):
        script_letters("runic")


def test_printed_digits():
    images, labels = printed_digits(2000, seed=1)
    assert images.shape == (2000, 28, 28, 1) and images.dtype == np.uint8 and labels.dtype == np.int32
    assert images.min() == 0 and images.max() == 255
    assert np.abs(np.bincount(labels, minlength=10) - 200).max() < 68  # five standard deviations
    np.testing.assert_array_equal(images, printed_digits(2000, seed=1)[0])
    assert (images != printed_digits(2000, seed=2)[0]).any()
    heights = (images > 127).any(axis=(2, 3)).sum(axis=1)
    assert 20 < heights.mean() < 26 and heights.max() <= 28
    ink, written = images.mean(), digits(28)[0].mean()
    assert 0.5 < ink / written < 2


def test_ten_thousand_images_take_less_than_three_seconds():
    start = time.perf_counter()
    assert len(glyphs("0123456789", n=10_000).images) == 10_000
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"characters": "a中"}, "received '中', missing in DejaVuSans, .*cmtt10"),
        ({"characters": "aα", "fonts": ["DejaVuSans", "cmr10"]}, "received 'α', missing in cmr10"),
        ({"characters": "a", "fonts": ["Arial"]}, "fonts from .*DejaVuSans.* received 'Arial'"),
        ({"characters": "a", "fonts": []}, "at least one font; received none"),
        ({"characters": "中"}, "received '中', missing in DejaVuSans, .*cmtt10"),
        ({"characters": ""}, "distinct, single and visible; received \\[\\]"),
        ({"characters": "aba"}, "distinct, single and visible"),
        ({"characters": ["ab"]}, "distinct, single and visible"),
        ({"characters": "a "}, "distinct, single and visible"),
        ({"characters": "a", "n": 0}, "`n` to be at least 1 or None; received 0"),
        ({"characters": "a", "image_size": 4}, "`image_size` to be at least 8 .* received 4"),
        ({"characters": "a", "size": 0.0}, "`size` positive; received 28, 0.0"),
        ({"characters": "a", "n": 1, "jitter": Jitter(scale=1.0)}, "less than 1; received 1.0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        glyphs(**arguments)


def test_missing_matplotlib_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_transfer\[recipes\]'"):
        glyphs("a")
