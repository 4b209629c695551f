"""Reviews of products in three shops' departments, as counts of words: a sentiment in one to be told in another."""

import numpy as np

from keras_transfer.datasets.files import check_split, fetch

AMAZON_DOMAINS = ("books", "dvd", "electronics")
_GRAAL = "https://raw.githubusercontent.com/GRAAL-Research/domain_adversarial_neural_network/master/data/"
_SHA256 = {
    "books_test.svmlight": "fe4605c7dcf0e0a9410fd2a32f247caaf9abb352cc6e4c3e0f400853163ad9c4",
    "books_train.svmlight": "317f9a2ec34b81de770b63a84d8c5cc2dc16bd0be6e079d2ff5b5bad5213ea19",
    "dvd_test.svmlight": "4fe1b1a15010f78d8d0c49fe362d35fd4677463a45f1ac02a9f410ae1e638060",
    "dvd_train.svmlight": "95f602aa08bf6b55758f7b0b18df3882fe30acb11987ee60b6b4bb3c44cba733",
    "electronics_test.svmlight": "641783bc941839c3a111d3488a1b7e3bd820a61ec14a129e7429b47703aa961d",
    "electronics_train.svmlight": "7d0061f03ff3827e4f8036b051b5e5828fddc0cd115aa5b212cd28d624dc14e4",
}
_WORDS = 5000


def amazon_reviews(domain, split="train"):
    """Loads reviews of one domain: 2,000 train and 3,586 to 5,681 test, each as counts of 5,000 words and word pairs.

    Reads `<domain>_<split>.svmlight` from `$KERAS_TRANSFER_DATA/amazon_reviews`, or downloads it once (1 to 3 MB).

    Args:
        domain: `"books"`, `"dvd"` or `"electronics"`.
        split: `"train"` or `"test"`.

    Returns:
        Tuple of counts, float32 (n, 5000), and labels, int32 (n,), 1 for a review of more than three of five stars.

    Raises:
        ValueError: If the domain is unknown, or a file is no such list.
        ImportError: If scikit-learn is missing.

    Reference: J. Blitzer, M. Dredze, F. Pereira, "Biographies, Bollywood, Boom-boxes and Blenders", ACL 2007; the
    counts are those of Y. Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 2016, arXiv:1505.07818.
    """
    if domain not in AMAZON_DOMAINS:
        raise ValueError(f"Expected `domain` to be one of {AMAZON_DOMAINS}; received {domain!r}.")
    check_split(split)
    try:
        from sklearn.datasets import load_svmlight_file
    except ImportError as error:
        raise ImportError("Reading these reviews needs scikit-learn: pip install 'keras_transfer[recipes]'.") from error
    name = f"{domain}_{split}.svmlight"
    path = fetch(name, "amazon_reviews", _GRAAL + name, _SHA256[name])
    try:
        counts, signs = load_svmlight_file(str(path), n_features=_WORDS, zero_based=True)
    except ValueError as error:
        raise ValueError(f"Expected {path} to list a label and word:count on each line; received: {error}.") from error
    if not len(signs) or not np.isin(signs, (-1, 1)).all():
        raise ValueError(f"Expected labels -1 and 1 in {path}; received {np.unique(signs).tolist()}.")
    return counts.toarray().astype(np.float32), (signs > 0).astype(np.int32)
