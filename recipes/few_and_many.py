"""A few labelled rows and many without a label: pictures that train an encoder, or features of a pretrained one."""

import csv

import keras
import numpy as np
from keras import layers, ops

import keras_transfer as kt
from keras_transfer.recipes import digit_views, own_pictures
from keras_transfer.recipes.pretrain_images import build_encoder

DATA = ("glyphs", "fashion_mnist", "mnist", "pacs")
FASHION = ("top", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
VIEWS = 4  # weak, and as many strong ones, of each row whose features are kept
STUDENT = 14  # filters of the first convolution of a student


def load(config):
    """Returns `Pictures` or `Features`, as the settings ask for."""
    if config.texts is not None:
        return of_texts(config)
    if config.images is not None or config.data == "pacs":
        return of_pictures(config)
    return Pictures(config.data)


class Pictures:
    """Grey pictures of 28 pixels, which train an encoder.

    Attributes:
        case: str.
        names: tuple of str, the classes.
        x: uint8 `(rows, 28, 28, 1)`, all without a label; labels of some are drawn from `y`.
        y: int `(rows,)`.
        test: pair of pictures and labels.
        weak: layer of views that change little; `strong`: of such that change much; `views`: for the pretraining.
        encoder: None: it is not pretrained.
        excluded: pictures that may not be among those without a label.
    """

    def __init__(self, data):
        self.case, self.encoder = data, None
        if data == "glyphs":
            self.names = tuple(LETTERS)
            wide = kt.datasets.Jitter(rotation=20.0, shear=0.4, scale=0.25, translation=0.1)
            parts = [kt.datasets.glyphs(self.names, n, jitter=wide, seed=i)[:2] for i, n in enumerate((20_000, 5000))]
        elif data == "mnist":
            self.names, parts = tuple("0123456789"), [kt.datasets.mnist(split) for split in ("train", "test")]
        else:
            self.names = FASHION
            parts = [(x[..., None], y.astype("int32")) for x, y in keras.datasets.fashion_mnist.load_data()]
        (self.x, self.y), self.test = parts
        known = {row.tobytes() for row in self.test[0]}
        apart = np.array([row.tobytes() not in known for row in self.x])
        self.x, self.y = self.x[apart], self.y[apart]
        self.classes, self.shape, self.excluded = len(self.names), self.x.shape[1:], self.test[0]
        if data == "fashion_mnist":
            self.weak, self.strong = garment_views()
        else:
            self.weak, self.strong = digit_views.weak(False), digit_views.strong(False)
        self.views = kt.layers.contrastive_views(28, 1, (0.3, 1.0), data == "fashion_mnist")

    def new_encoder(self):
        """Returns a new encoder, whose averages follow within a few hundred steps."""
        return build_encoder(self.shape, momentum=0.9)

    def student(self):
        """Returns encoder and head of a student, with less than a quarter of the parameters."""
        encoder = build_encoder(self.shape, STUDENT, momentum=0.9)
        return encoder, keras.Sequential([keras.Input(encoder.output_shape[1:]), layers.Dense(self.classes)])

    def as_they_are(self, rows):
        """Returns rows without a view."""
        return rows

    def served(self, model):
        """Returns the model to export, and inputs as clients send them."""
        return model, self.test[0][:16]


def garment_views():
    """Returns the layers of weak and of strong views of grey pictures on black, which may be mirrored."""
    shifted = layers.RandomTranslation(0.07, 0.07, fill_mode="constant", fill_value=0.0)
    erased = layers.RandomErasing(0.5, scale=(0.02, 0.2), value_range=(0, 255))
    parts = kt.layers.contrastive_views(28, 1, (0.3, 1.0))
    return Views([layers.RandomFlip("horizontal"), shifted]), Views([parts, erased])


class Views(keras.layers.Layer):
    """Layers one after another, each of which draws, as floats."""

    def __init__(self, changes, **kwargs):
        super().__init__(**kwargs)
        self.changes = list(changes)

    def call(self, images):
        """Returns views of images."""
        images = ops.cast(images, "float32")
        for change in self.changes:
            images = change(images, training=True)
        return images


class Features:
    """Features of a pretrained backbone, of each row as it is and of some views of it; a small network trains on them.

    Args:
        case: str.
        names: tuple of str, the classes.
        rows: features `(rows, 1 + 2 * VIEWS, dim)`, labels; those without a label have -1.
        test: features `(rows, dim)`, labels.
        backbone: network of what clients send to features.
        requests: such inputs.
    """

    def __init__(self, case, names, rows, test, backbone, requests):
        self.case, self.names, (self.x, self.y), self.test = case, names, rows, test
        self.classes, self.views, self.excluded = len(names), None, None
        self.backbone, self.requests = backbone, requests
        self.weak, self.strong = OneOf(0, 1 + VIEWS), OneOf(1 + VIEWS, VIEWS)
        self.encoder = self.new_encoder()

    def new_encoder(self):
        """Returns what stands before the head: features are scaled, and some dropped in training."""
        scale = layers.Normalization()
        scale.adapt(self.x[:, 0])
        return keras.Sequential([keras.Input(self.x.shape[2:]), scale, layers.Dropout(0.2)])

    def student(self):
        """Returns None: what trains is one layer already."""

    def as_they_are(self, rows):
        """Returns the features of rows without a view."""
        return rows[:, 0]

    def served(self, model):
        """Returns the model to export, with the backbone before it, and inputs as clients send them."""
        return keras.Model(self.backbone.inputs, model(self.backbone.outputs[0])), self.requests


class OneOf(keras.layers.Layer):
    """Takes one of some views of each row, drawn."""

    def __init__(self, first, number, **kwargs):
        super().__init__(**kwargs)
        self.first, self.number = first, number
        self.draws = keras.random.SeedGenerator()

    def call(self, rows):
        """Returns `(batch, dim)` of rows `(batch, views, dim)`."""
        shape = (ops.shape(rows)[0],)
        chosen = keras.random.randint(shape, self.first, self.first + self.number, seed=self.draws)
        return ops.squeeze(ops.take_along_axis(rows, chosen[:, None, None], axis=1), 1)


def of_pictures(config):
    """Returns the `Features` of PACS's paintings, or of your own pictures."""
    size = (config.image_size, config.image_size)
    backbone = own_pictures.imagenet_backbone(config.backbone, config.image_size)
    if config.images is None:
        x, y = kt.datasets.pacs("art_painting", size)
        tests = np.random.default_rng(0).random(len(x)) < 0.3
        parts, names, case = ((x[~tests], y[~tests]), (x[tests], y[tests])), kt.datasets.PACS_CLASSES, "pacs"
        apart = np.array([one.tobytes() for one in parts[0][0]])
        keep = ~np.isin(apart, [one.tobytes() for one in parts[1][0]])
        parts = (tuple(part[keep] for part in parts[0]), parts[1])
    else:
        options = own_pictures.Options(images=config.images, image_size=config.image_size)
        found = own_pictures.load(options)
        x, y = found.train[:], found.train.labels
        if found.unlabelled is not None:
            x = np.concatenate([x, found.unlabelled[:]])
            y = np.append(y, np.full(len(found.unlabelled), -1))
        parts, names, case = ((x, y), (found.test[:], found.test.labels)), found.class_names, config.images.stem
    (x, y), (x_test, y_test) = parts
    weak = Views([layers.RandomFlip("horizontal"), kt.layers.RandomResizedCrop(*size, scale=(0.7, 1.0))])
    strong = Views(
        [
            layers.RandomFlip("horizontal"),
            kt.layers.RandomResizedCrop(*size, scale=(0.3, 1.0)),
            layers.RandomColorJitter((0, 255), 0.4, 0.4, 0.4, 0.1),
            layers.RandomErasing(0.5, value_range=(0, 255)),
        ]
    )
    keras.utils.set_random_seed(0)
    views = [x, *(in_parts(weak, x) for _ in range(VIEWS)), *(in_parts(strong, x) for _ in range(VIEWS))]
    print(f"Features of {len(views)} views of {len(x)} pictures", flush=True)
    rows = np.stack([kt.backbones.cached_features(backbone, view, verbose=False) for view in views], axis=1)
    test = kt.backbones.cached_features(backbone, x_test, verbose=False), y_test
    return Features(case, names, (rows, y), test, backbone, x_test[:16])


def in_parts(view, x, size=256):
    """Returns a view of each picture, uint8, made of some at a time."""
    parts = [np.asarray(view(x[i : i + size])) for i in range(0, len(x), size)]
    return np.concatenate([np.clip(np.rint(part), 0, 255).astype("uint8") for part in parts])


def of_texts(config):
    """Returns the `Features` of your own texts: all-MiniLM-L6-v2 of them, and of views with words left out."""
    with open(config.texts, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"text", "label"} <= set(rows[0]):
        raise ValueError(
            f"Expected the columns `text` and `label` in {config.texts}; received {list(rows[:1] and rows[0])}."
        )
    texts = np.array([row["text"] for row in rows], object)
    names = tuple(sorted({row["label"] for row in rows if row["label"].strip()}))
    y = np.array([names.index(row["label"]) if row["label"] in names else -1 for row in rows], "int32")
    tests = (np.random.default_rng(0).random(len(y)) < 0.2) & (y >= 0)
    backbone, rng = kt.backbones.minilm(48), np.random.default_rng(1)

    def shortened(text, share):
        words = text.split()
        kept = [word for word in words if rng.random() >= share]
        return " ".join(kept or words)

    x = texts[~tests]
    views = [x] + [np.array([shortened(text, share) for text in x], object) for share in [0.1] * VIEWS + [0.35] * VIEWS]
    kept = np.stack([backbone.predict(view, batch_size=64, verbose=0) for view in views], axis=1)
    test = backbone.predict(texts[tests], batch_size=64, verbose=0), y[tests]
    return Features(config.texts.stem, names, (kept, y[~tests]), test, backbone, texts[:16])
