"""Data sets as arrays, in the manner of `keras.datasets`."""

from keras_transfer.datasets.amazon_reviews import AMAZON_DOMAINS, amazon_reviews
from keras_transfer.datasets.awa_attributes import Attributes, awa_attributes
from keras_transfer.datasets.digits import digits, digits_on_photos
from keras_transfer.datasets.docstrings import DOCSTRING_CLASSES, docstrings
from keras_transfer.datasets.emoji import EMOJI_STYLES, Emoji, emoji
from keras_transfer.datasets.glyphs import (
    DEJAVU_FONTS,
    FONTS,
    SCRIPTS,
    Glyphs,
    Jitter,
    glyphs,
    printed_digits,
    script_letters,
)
from keras_transfer.datasets.image_files import ImageFiles, image_files, image_table, read_columns
from keras_transfer.datasets.image_folder import image_folder, image_folders
from keras_transfer.datasets.imagenet_overlap import imagenet_overlap
from keras_transfer.datasets.letter_attributes import Attribute, letter_attributes
from keras_transfer.datasets.letter_descriptions import LetterDescriptions, letter_descriptions
from keras_transfer.datasets.mnist import mnist, mnist_m, mnist_m_like
from keras_transfer.datasets.movie_reviews import movie_reviews
from keras_transfer.datasets.multi_fashion import MultiFashion, multi_fashion
from keras_transfer.datasets.near_duplicates import near_duplicates, thumbnails
from keras_transfer.datasets.office_caltech import OFFICE_CALTECH_DOMAINS, office_caltech
from keras_transfer.datasets.omniglot import omniglot, omniglot_runs
from keras_transfer.datasets.pacs import PACS_CLASSES, PACS_DOMAINS, pacs
from keras_transfer.datasets.prompts import PICTURE_PROMPTS, prompts
from keras_transfer.datasets.sentences import SST_CLASSES, TWEET_CLASSES, sst, tweet_eval
from keras_transfer.datasets.sinusoids import sinusoids
from keras_transfer.datasets.trec import TREC_COARSE, TREC_FINE, Trec, trec
from keras_transfer.datasets.usps import usps
from keras_transfer.datasets.xian_split import XianSplit, xian_split

__all__ = [
    "AMAZON_DOMAINS",
    "DEJAVU_FONTS",
    "DOCSTRING_CLASSES",
    "EMOJI_STYLES",
    "FONTS",
    "OFFICE_CALTECH_DOMAINS",
    "PACS_CLASSES",
    "PACS_DOMAINS",
    "PICTURE_PROMPTS",
    "SCRIPTS",
    "SST_CLASSES",
    "TREC_COARSE",
    "TREC_FINE",
    "TWEET_CLASSES",
    "Attribute",
    "Attributes",
    "Emoji",
    "Glyphs",
    "ImageFiles",
    "Jitter",
    "LetterDescriptions",
    "MultiFashion",
    "Trec",
    "XianSplit",
    "amazon_reviews",
    "awa_attributes",
    "digits",
    "digits_on_photos",
    "docstrings",
    "emoji",
    "glyphs",
    "image_files",
    "image_folder",
    "image_folders",
    "image_table",
    "imagenet_overlap",
    "letter_attributes",
    "letter_descriptions",
    "mnist",
    "mnist_m",
    "mnist_m_like",
    "movie_reviews",
    "multi_fashion",
    "near_duplicates",
    "office_caltech",
    "omniglot",
    "omniglot_runs",
    "pacs",
    "printed_digits",
    "prompts",
    "read_columns",
    "script_letters",
    "sinusoids",
    "sst",
    "thumbnails",
    "trec",
    "tweet_eval",
    "usps",
    "xian_split",
]
