"""Classes with descriptions, some of which no training shows: letters, emoji, or pictures of your own."""

import csv
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import own_pictures

HELD_OUT = ("styles", "family", "random", "subcategories", "style")
SPLITS = {"glyphs": ("styles", "family"), "emoji": ("random", "style", "subcategories")}
FONTS = {"styles": ("DejaVuSans-BoldOblique", "DejaVuSerif-BoldItalic"), "family": kt.datasets.DEJAVU_FONTS[8:]}
UNSEEN_LETTERS, HELD_LETTERS = 200, 150
VIEWS = 6  # of each emoji: as it is, and augmented
SHARE = 0.2  # of the classes of emoji and of your own pictures that are unseen
VALIDATION = 0.1  # of the rows of seen classes, beside the rows of classes held out


class Problem(NamedTuple):
    """Rows to train on, all of seen classes, and rows to test on.

    Args:
        names: tuple of str, the classes.
        attributes: float32 `(classes, dim)`, or None.
        seen: bool `(classes,)`.
        train: pair of inputs and labels.
        test: pair of inputs and labels, of unseen classes and where there are such rows of seen ones.
        candidates: bool `(classes,)`, seen classes that are like the unseen ones, to hold out some.
    """

    names: tuple
    attributes: np.ndarray | None
    seen: np.ndarray
    train: tuple
    test: tuple
    candidates: np.ndarray

    @property
    def seen_names(self):
        """The names of the seen classes, a list."""
        return [name for name, is_seen in zip(self.names, self.seen) if is_seen]

    def described(self, vectors):
        """Returns `{class: vector}` of vectors `(classes, dim)`."""
        return dict(zip(self.names, vectors))


def load(config):
    """Returns what the settings ask for: `Letters`, `Emoji` or `Own`.

    Raises:
        ValueError: if the split is of other data, or seen and unseen classes cannot be told from one another.
    """
    if config.images is not None:
        return Own(config)
    splits = SPLITS[config.data]
    split = config.split or splits[0]
    if split not in splits:
        raise ValueError(f"Expected --split to be one of {splits} of {config.data}; received {split!r}.")
    if config.data == "glyphs":
        return Letters(config, split)
    if config.generalised:
        raise ValueError(
            "Expected letters or pictures of your own with --generalised; received emoji, of which a seen class has no "
            "further picture in the same style to choose a penalty by."
        )
    return Emoji(config, split)


def words_of(texts):
    """Returns what all-MiniLM-L6-v2 says of the texts of each class `(classes, dim)`, or None without the extra."""
    if texts is None:
        return None
    try:
        encoder = kt.backbones.minilm(32)
    except ImportError as error:
        print(f"{error}. Nothing is told by words.", flush=True)
        return None
    rows = encoder.predict(np.array([text for said in texts for text in said], object), batch_size=64, verbose=0)
    ends = np.cumsum([0, *map(len, texts)])
    return np.stack([rows[a:b].mean(0) for a, b in zip(ends, ends[1:])])


class Letters:
    """Letters by Unicode's attributes or names: 200 with diacritics are unseen, and so are the fonts of the test."""

    def __init__(self, config, split):
        self.case, self.split = f"glyphs_{split}{'_generalised' * config.generalised}", split
        self.known = kt.datasets.letter_descriptions("".join(map(kt.datasets.script_letters, kt.datasets.SCRIPTS)))
        self.names = self.known.names
        self.words = words_of([[name] for name in self.names])

    def problem(self, config, seed):
        """Returns the `Problem` of a seed, which draws the unseen letters and the images."""
        known = self.known
        drawn = np.random.default_rng(seed).choice(np.flatnonzero(known.diacritic), UNSEEN_LETTERS, replace=False)
        seen = ~np.isin(np.arange(len(known.names)), drawn)
        others = [font for font in kt.datasets.DEJAVU_FONTS if font not in FONTS[self.split]]

        def rendered(classes, number, fonts, place):
            classes = np.flatnonzero(classes)
            found = kt.datasets.glyphs([known.letters[i] for i in classes], number, fonts=fonts, seed=3 * seed + place)
            return found.images, classes[found.labels]

        train = rendered(seen, config.letters, others, 0)
        test = [rendered(part, config.tests, FONTS[self.split], i) for i, part in enumerate((~seen, seen), 1)]
        test = tuple(np.concatenate(part) for part in zip(*test))
        return Problem(known.names, known.attributes, seen, train, test, seen & known.diacritic)

    def pictures(self, problem, rows):
        """Returns the pictures of some rows of the test."""
        return problem.test[0][rows]

    def served(self, model):
        """Returns the model to export, and inputs as clients send them."""
        return model, kt.datasets.glyphs(self.known.letters[:4], fonts=kt.datasets.DEJAVU_FONTS[:4]).images


class Emoji:
    """Emoji by their names: a fifth of the classes is unseen, at random or by whole subcategories.

    Pictures of both makers train and test; of the split `style` those of one train and those of the other test.
    """

    def __init__(self, config, split):
        self.case, self.split = f"emoji_{split}", split
        self.drawn = {style: kt.datasets.emoji(style, config.image_size) for style in kt.datasets.EMOJI_STYLES}
        self.names = self.drawn["twitter"].names
        self.texts = [[name] for name in self.names]
        self.words = words_of(self.texts)
        if self.words is None:
            raise ValueError("Expected the extra `text` for the names of emoji; received an environment without it.")
        self.backbone = own_pictures.imagenet_backbone(config.backbone, config.image_size)
        print(f"Features of {VIEWS} views of {2 * len(self.names)} pictures", flush=True)
        self.features = {
            style: np.stack([features_of(self.backbone, drawn.images, view) for view in range(VIEWS)])
            for style, drawn in self.drawn.items()
        }
        known = kt.datasets.imagenet_overlap(self.names)
        print(f"{len(known)} of {len(self.names)} names share their words with one of ImageNet's classes.", flush=True)

    def problem(self, config, seed):
        """Returns the `Problem` of a seed, which draws the unseen classes."""
        drawn = self.drawn["twitter"]
        rng, classes = np.random.default_rng(seed), np.arange(len(self.names))
        if self.split == "subcategories":
            kinds = np.array([f"{c}: {s}" for c, s in zip(drawn.categories, drawn.subcategories)])
            order = rng.permutation(np.unique(kinds))
            counts = np.cumsum([np.count_nonzero(kinds == kind) for kind in order])
            seen = ~np.isin(kinds, order[: np.searchsorted(counts, SHARE * len(classes)) + 1])
        else:
            seen = ~np.isin(classes, rng.choice(classes, round(SHARE * len(classes)), replace=False))
        both = kt.datasets.EMOJI_STYLES
        makers = (both[:1], both[1:]) if self.split == "style" else (both, both)
        views = [self.features[maker][:, seen] for maker in makers[0]]
        train = np.concatenate([view.reshape(-1, view.shape[-1]) for view in views])
        labels = np.concatenate([np.tile(classes[seen], len(view)) for view in views])
        tested = classes[~seen]
        test = np.concatenate([self.features[maker][0, tested] for maker in makers[1]])
        return Problem(self.names, None, seen, (train, labels), (test, np.tile(tested, len(makers[1]))), seen)

    def pictures(self, problem, rows):
        """Returns the pictures of some rows of the test."""
        makers = kt.datasets.EMOJI_STYLES[1:] if self.split == "style" else kt.datasets.EMOJI_STYLES
        each = len(problem.test[1]) // len(makers)
        return np.stack([self.drawn[makers[row // each]].images[problem.test[1][row]] for row in rows])

    def served(self, model):
        """Returns the model to export, from pictures and strings, and inputs as clients send them."""
        return with_backbone(self.backbone, model, dict(zip(self.names, self.texts))), self.drawn["google"].images[:16]


def features_of(backbone, images, view):
    """Returns the features of pictures as they are, view 0, or of another view of each."""
    images = images if view == 0 else moved(images, view)
    return kt.backbones.cached_features(backbone, images, verbose=False)


def moved(images, seed):
    """Returns a view of each picture: turned, shifted and scaled a little, on white."""
    white = {"fill_mode": "constant", "fill_value": 255.0}
    view = keras.Sequential(
        [
            layers.RandomRotation(0.03, **white, seed=seed),
            layers.RandomZoom(0.15, **white, seed=seed),
            layers.RandomTranslation(0.06, 0.06, **white, seed=seed),
        ]
    )
    return np.asarray(view(images.astype("float32"), training=True))


def with_backbone(backbone, trained, descriptions):
    """Returns a trained model of features with the backbone before it, and MiniLM before its vectors of words."""
    encoder = keras.Sequential([backbone, trained.encoder])
    texts = isinstance(next(iter(descriptions.values()))[0], str)
    describer = kt.backbones.minilm(32) if texts else None
    served = kt.models.BilinearCompatibility(
        encoder, trained.projector, descriptions, trained.seen, describer, centred=trained.centred
    )
    served.calibrate(penalty=float(keras.ops.convert_to_numpy(trained.seen_penalty)))
    return served


class Own:
    """Pictures of your own, and what a CSV file says of their classes; a fifth of them is unseen."""

    def __init__(self, config):
        if config.descriptions is None:
            raise ValueError("Expected --descriptions, a CSV file, with --images; received none.")
        if config.backbone == "small_cnn":
            raise ValueError("Expected a pretrained --backbone of your own pictures; received small_cnn, which is not.")
        options = own_pictures.Options(images=config.images, image_size=config.image_size, backbone=config.backbone)
        found = own_pictures.load(options)
        self.case, self.labelled = f"{config.images.stem}{'_generalised' * config.generalised}", found.class_names
        self.names, self.attributes, self.texts = read_descriptions(config.descriptions, found.class_names)
        if len(self.labelled) < 10:
            raise ValueError(f"Expected at least 10 classes with pictures; received {len(self.labelled)}.")
        self.words = words_of(self.texts)
        self.backbone, self.files = own_pictures.backbone(options, trainable=False), found
        self.rows = [
            (kt.backbones.cached_features(self.backbone, part), part.labels) for part in (found.train, found.test)
        ]
        known = kt.datasets.imagenet_overlap(self.labelled)
        print(f"ImageNet has {len(known)} of {len(self.labelled)} classes by name: {', '.join(known)}", flush=True)

    def problem(self, config, seed):
        """Returns the `Problem` of a seed, which draws the unseen among the classes with pictures."""
        number = len(self.labelled)
        unseen = np.random.default_rng(seed).choice(number, max(2, round(SHARE * number)), replace=False)
        seen = ~np.isin(np.arange(number), unseen)
        (x, y), (x_test, y_test) = self.rows
        test = np.concatenate([x[~seen[y]], x_test]), np.concatenate([y[~seen[y]], y_test])
        attributes = None if self.attributes is None else self.attributes[:number]
        return Problem(self.labelled, attributes, seen, (x[seen[y]], y[seen[y]]), test, seen)

    def pictures(self, problem, rows):
        """Returns None: those on disk are not read again."""

    def served(self, model):
        """Returns the model to export, which knows the classes without pictures too, and inputs as clients send."""
        said = self.texts or [[row.tolist()] for row in self.attributes]
        return with_backbone(self.backbone, model, dict(zip(self.names, said))), self.files.test[:16]


def held_out(problem, seed):
    """Returns the problem of choosing how much seen classes lose: some of them are held out, and rows of the others.

    Args:
        problem: `Problem`; its test is not looked at.
        seed: int, draws the classes and rows.
    """
    rng, (x, y) = np.random.default_rng(seed + 1000), problem.train
    candidates = np.flatnonzero(problem.candidates)
    number = min(HELD_LETTERS, max(2, round(SHARE * len(candidates))))
    held = np.isin(np.arange(len(problem.names)), rng.choice(candidates, number, replace=False))
    apart = held[y] | (rng.random(len(y)) < VALIDATION)
    known = problem.seen  # the unseen ones are not there at all
    place = np.cumsum(known) - 1
    return Problem(
        tuple(problem.seen_names),
        None if problem.attributes is None else problem.attributes[known],
        ~held[known],
        (x[~apart], place[y[~apart]]),
        (x[apart], place[y[apart]]),
        (problem.candidates & ~held)[known],
    )


def read_descriptions(path, classes):
    """Returns the classes of a CSV file that describes them, what is labelled first, with attributes or texts.

    Args:
        path: CSV file with a column `class`, and either columns of numbers, the attributes, or one or more columns
            `description`, `description_2` and so on.
        classes: names of the classes that have pictures.

    Returns:
        Tuple of names, attributes `(classes, dim)` or None, and list of lists of texts or None.

    Raises:
        ValueError: if there is no such column, a class is described twice or not at all, or a cell is no number.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0]) if rows else []
    if "class" not in columns or len(columns) < 2:
        raise ValueError(f"Expected a column `class` and columns of what describes it in {path}; received {columns}.")
    table = {row["class"].strip(): [(row[c] or "").strip() for c in columns if c != "class"] for row in rows}
    lacking = [name for name in classes if name not in table]
    if lacking or len(table) < len(rows):
        raise ValueError(
            f"Expected each class of the pictures once in {path}; received "
            + (f"nothing on {', '.join(lacking)}." if lacking else "a class twice.")
        )
    names = (*classes, *(name for name in table if name not in classes))
    if any(column.startswith("description") for column in columns):
        return names, None, [[text for text in table[name] if text] for name in names]
    try:
        return names, np.array([[float(cell) for cell in table[name]] for name in names], "float32"), None
    except ValueError as error:
        raise ValueError(f"Expected numbers, or columns `description`, in {path}; received: {error}.") from error
