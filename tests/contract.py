"""One row for each public method: how to make it small, and what it trains on.

`METHODS` has dense networks, which NumPy can follow. `ON_IMAGES` has convolutions, BatchNormalization and Dropout.
"""

from typing import Any, NamedTuple

import keras
import numpy as np

import keras_transfer as kt

FEATURES, DIM, CLASSES = 8, 16, 3
IMAGE = (4, 4, 2)
ALIKE = (  # whose operations others have too: that is enough where compiling takes long, on replicas and on JAX
    *("CDAN", "MDD", "Distillation", "MAS", "GDumb", "ICaRL", "ANIL", "MatchingNetwork", "SimSiam"),
    *("SoftSharing", "CrossStitch", "MixtureOfExperts", "LabelDescriptions", "DenoisingText"),
    *("ESZSL", "SAE", "PseudoLabel", "PiModel", "MeanTeacher"),
)


class Row(NamedTuple):
    make: Any  # () -> a compiled model with new networks
    batch: tuple  # (x, y) of the training streams
    plain: tuple  # (x, y) of plain data
    draws: bool = False  # random numbers in the step, by which replicas differ from one
    attends: bool = False  # attention, which JAX has not in float16 on CPUs
    still: tuple = ()  # ends of the paths of variables that have no gradient
    combines: bool = False  # gradients, which runs on TensorFlow


def network(inputs, outputs, activation=None, use_bias=True):
    """A small regularised network: regularisers have to count once in every method."""
    decay = keras.regularizers.L2(0.01)
    layer = keras.layers.Dense(outputs, activation=activation, use_bias=use_bias, kernel_regularizer=decay)
    return keras.Sequential([keras.Input((inputs,)), layer])


def encoder():
    return network(FEATURES, DIM, "tanh")


def head():
    return network(DIM, CLASSES)


def discriminator():
    return network(DIM, 1)


def curved_critic():
    """A critic whose slope is not the same everywhere; of a bias at its end both domains have the same."""
    return keras.Sequential([*network(DIM, DIM, "tanh").layers, *network(DIM, 1, use_bias=False).layers])


def compiled(model, optimizer=None, **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"], **arguments)
    return model


def domains(rows=16, target_rows=24, seed=0, shape=(FEATURES,)):
    """Batches of two domains of different size."""
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(rows, *shape)).astype("float32")
    target = rng.normal(1.0, 2.0, size=(target_rows, *shape)).astype("float32")
    labels = (np.abs(source.reshape(rows, -1)[:, 0]) * 1.5).astype("int32").clip(0, CLASSES - 1)
    return ({"source": source, "target": target}, labels), (source, labels)


def domain_views(seed=0, shape=(FEATURES,)):
    """Batches of two domains, of the target two views."""
    (x, labels), plain = domains(seed=seed, shape=shape)
    strong = x["target"] + 0.5 * np.random.default_rng(seed + 100).normal(size=x["target"].shape).astype("float32")
    return ({"source": x["source"], "target_weak": x["target"], "target_strong": strong}, labels), plain


def target_alone(seed=0, shape=(FEATURES,)):
    """A batch of the target, without labels."""
    (x, _), (plain, _) = domains(seed=seed, shape=shape)
    return ({"target": x["target"]}, None), (plain, None)


def unlabelled_domains(seed=0, shape=(FEATURES,)):
    """Batches of two domains, neither with labels."""
    (x, _), (plain, _) = domains(seed=seed, shape=shape)
    return (x, None), (plain, None)


def labelled(seed=0, shape=(FEATURES,)):
    """A plain batch, which trains and evaluates."""
    plain = domains(seed=seed, shape=shape)[1]
    return plain, plain


def replayed(seed=0, shape=(FEATURES,), logits=False):
    """A batch of the present task, and rows of former ones with their labels; `logits`: and what was said of them."""
    (x, labels), (plain, _) = domains(seed=seed, shape=shape)
    memory = {"x": x["target"], "y": (np.arange(len(x["target"])) % CLASSES).astype("int32")}
    if logits:
        memory["logits"] = np.random.default_rng(seed).normal(size=(len(x["target"]), CLASSES)).astype("float32")
        memory["logits"][:, -1] = np.nan  # a class that came later
    return ({"current": x["source"], "memory": memory}, labels), (plain, labels)


def with_logits(seed=0, shape=(FEATURES,)):
    return replayed(seed, shape, logits=True)


def buffer(shape=(FEATURES,), classes=CLASSES):
    """A buffer of nine rows."""
    return kt.layers.ReplayBuffer(9, shape, classes, logits=True)


def remembering(model):
    """A model of continual learning as it is after a task of all classes but the last."""
    rng = np.random.default_rng(0)
    model.seen.assign([5] * (model.classes - 1) + [0])
    for kept in (getattr(model, name, []) for name in ("information", "importance")):
        for v in kept:
            v.assign(0.2 * rng.random(v.shape))
    for anchor, v in zip(getattr(model, "anchors", []), model.protected()):
        anchor.assign(v + 0.3 * rng.normal(size=v.shape))
    for former in (getattr(model, name, None) for name in ("former_encoder", "former_head")):
        for v in former.weights if former is not None else []:
            v.assign(v + 0.1 * rng.random(v.shape))
    if hasattr(model, "nearest"):
        model.nearest.means.assign(rng.normal(size=model.nearest.means.shape))
        model.nearest.there.assign(np.ones(model.classes))
    return model


def episode_batch(seed=0, shots=2, queries=3, episodes=4, shape=(FEATURES,)):
    """Episodes of `CLASSES` classes, the labels in any order."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(episodes, CLASSES, *shape))

    def draw(size):
        labels = np.stack([rng.permutation(np.repeat(np.arange(CLASSES), size)) for _ in range(episodes)])
        x = centres[np.arange(episodes)[:, None], labels] + rng.normal(size=(*labels.shape, *shape))
        return x.astype("float32"), labels.astype("int32")

    support, (query, answers) = draw(shots), draw(queries)
    return ({"support": support, "query": query}, answers), (query[0], None)


def target_terms():
    losses = kt.losses
    named = {"mcc": losses.MCC(), "bnm": losses.negative_nuclear_norm, "im": losses.negative_information}
    return {name: (loss, 0.1) for name, loss in {**named, "entropy": losses.prediction_entropy}.items()}


def tasks(seed=0, rows=16, shape=(FEATURES,)):
    """A plain batch of two tasks, the second with half of its labels missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, *shape)).astype("float32")
    labels = (np.abs(x.reshape(rows, -1)[:, :2]) * 1.5).astype("int32").clip(0, CLASSES - 1)
    batch = x, {"whole": labels[:, 0], "half": np.where(rng.random(rows) < 0.5, labels[:, 1], -1)}
    return batch, batch


def heads():
    return {"whole": head(), "half": head()}


def of_tasks(model, optimizer=None, **arguments):
    loss, metrics = keras.losses.SparseCategoricalCrossentropy(from_logits=True), [["accuracy"]] * 2
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss, weighted_metrics=metrics, **arguments)
    return model


def each(make):
    """A new network, or whatever is made, for each task."""
    return {task: make() for task in heads()}


def views(rows=12, seed=0, shape=(FEATURES,)):
    """Two views of each row, the second a little off."""
    first = np.random.default_rng(seed).normal(size=(rows, *shape)).astype("float32")
    second = first + 0.1 * np.random.default_rng(seed + 100).normal(size=first.shape).astype("float32")
    return ({"view_1": first, "view_2": second}, None), (first, None)


def labelled_views(seed=0, shape=(FEATURES,)):
    (x, _), (first, _) = views(seed=seed, shape=shape)
    return (x, (np.arange(len(first)) % CLASSES).astype("int32")), (first, None)


def images(seed=0):
    """A batch of small images."""
    x = np.random.default_rng(seed).integers(0, 256, (8, 8, 8, 1)).astype("uint8")
    return ({"image": x}, None), (x, None)


def texts(seed=0, shape=(FEATURES,)):
    """A batch of inputs with labels, as the stream of a text."""
    plain = labelled(seed, shape)[1]
    return ({"text": plain[0]}, plain[1]), plain


VOCABULARY, TOKENS = 12, 6


def token_ids(seed):
    """Token ids with padding at the end of some rows."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, VOCABULARY, (8, TOKENS)).astype("int32")
    return np.where(np.arange(TOKENS) < rng.integers(3, TOKENS + 1, (8, 1)), ids, 0).astype("int32")


def masked_texts(seed=0):
    """Token ids with two places to tell, some of which do not count."""
    ids, rng = token_ids(seed), np.random.default_rng(seed + 1)
    positions = np.stack([rng.permutation(3)[:2] for _ in ids]).astype("int32")
    answers = np.take_along_axis(ids, positions, axis=1)
    weights = (rng.random(positions.shape) < 0.7).astype("float32")
    return ({"text": {"token_ids": ids, "positions": positions}}, answers, weights), (ids, None)


def scrambled_texts(seed=0):
    """Token ids, and the longer text that they came from."""
    ids, whole = token_ids(seed), token_ids(seed + 1)
    weights = (whole[:, 1:] != 0).astype("float32")
    return ({"text": {"token_ids": ids, "before": whole[:, :-1]}}, whole[:, 1:], weights), (ids, None)


def text_encoder():
    return kt.backbones.small_transformer(VOCABULARY, TOKENS, dim=8, blocks=1, heads=2)


def text_decoder():
    return kt.backbones.small_text_decoder(VOCABULARY, TOKENS, dim=8, blocks=1, heads=2)


def calibrated(model):
    """A SetFit whose head is set."""
    model.head.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in model.head.weights])
    model.calibrated.assign(1.0)
    return model


def described(encoder, shape=(FEATURES,)):
    """Zero-shot classes, each described by two inputs."""
    rows = np.random.default_rng(0).normal(size=(CLASSES, 2, *shape)).astype("float32")
    return kt.models.LabelDescriptions(encoder, {f"class {c}": list(rows[c]) for c in range(CLASSES)})


def attributed(method, encoder):
    """Classes described by attributes, one of which is never seen."""
    rows = np.random.default_rng(0).normal(size=(CLASSES + 1, 5)).astype("float32")
    said = {f"class {c}": row for c, row in enumerate(rows)}
    return method(encoder, network(DIM, 5, use_bias=False), said, list(said)[:CLASSES])


def pairs(rows=12, seed=0, shape=(FEATURES,)):
    """Images, and what is said of each."""
    rng = np.random.default_rng(seed)
    x = {"image": rng.normal(size=(rows, *shape)), "description": rng.normal(size=(rows, 5))}
    x = {name: part.astype("float32") for name, part in x.items()}
    return (x, None), (x["image"], None)


def few_and_many(seed=0, shape=(FEATURES,), views=("weak", "strong")):
    """A batch of labelled rows and one or two views of unlabelled ones."""
    (x, labels), plain = domain_views(seed=seed, shape=shape)
    many = {f"unlabelled_{view}": x[f"target_{view}"] for view in views} or {"unlabelled": x["target_weak"]}
    return ({"labelled": x["source"], **many}, labels), plain


def few_and_one_view(seed=0, shape=(FEATURES,)):
    return few_and_many(seed, shape, views=())


def projector():
    return network(DIM, DIM)


def stages(encoder=encoder, projector=projector):
    return [encoder(), projector(), projector()]


def experts(projector=projector):
    return [projector(), projector()]


def free_projector():
    """A projector without a bias, for losses that do not change where all rows move by the same."""
    return network(DIM, DIM, use_bias=False)


def unlabelled(model, optimizer=None, **arguments):
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), **arguments)
    return model


def vit():
    """A small Vision Transformer and a decoder, which begins with regularised layers."""
    encoder = kt.backbones.small_vit((8, 8, 1), patch_size=2, dim=8, blocks=1, heads=2)
    regularised = [keras.layers.Dense(n, kernel_regularizer=keras.regularizers.L2(0.01)) for n in (32, 8)]
    decoder = kt.backbones.small_vit_decoder(encoder, dim=8, heads=2)
    return encoder, keras.Sequential([keras.Input((16, 8)), *regularised, decoder])


def image_networks():
    """An encoder of small images and a decoder back to them."""
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()])
    encoder.add(network(64, DIM, "tanh"))
    decoder = network(DIM, 64)
    decoder.add(keras.layers.Reshape((8, 8, 1)))
    return encoder, decoder


def noisy(layers, dropout=0.2):
    """BatchNormalization, ReLU and Dropout after these layers; the statistics move fast enough for a few steps."""
    last = [keras.layers.BatchNormalization(momentum=0.9), keras.layers.Activation("relu")]
    return keras.Sequential([*layers, *last, *([keras.layers.Dropout(dropout)] if dropout else [])])


def conv_encoder(dropout=0.2):
    convolution = keras.layers.Conv2D(4, 3, 2, "same", use_bias=False, kernel_regularizer=keras.regularizers.L2(0.01))
    network = noisy([keras.Input(IMAGE), convolution], dropout)
    network.add(keras.layers.Flatten())
    return network


def noisy_projector():
    return noisy([free_projector()])


def conv_vit():
    """An encoder of patches whose blocks are convolutions, as `kt.models.MAE` asks for, and a decoder."""
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 2, 2, use_bias=False)(layers.Rescaling(1 / 255)(inputs))
    patches = keras.Model(inputs, layers.Reshape((16, 8))(x), name="patches")
    blocks = noisy([keras.Input((None, 8)), layers.Conv1D(8, 1, use_bias=False)])
    blocks.name = "blocks"
    encoder = keras.Model(inputs, layers.GlobalAveragePooling1D()(blocks(patches(inputs))))
    return encoder, keras.Sequential([keras.Input((16, 8)), layers.Conv1D(8, 3, padding="same"), layers.Dense(4)])


def conv_image_networks():
    """As `image_networks`, with convolutions."""
    layers = keras.layers
    encoder = noisy([keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3, 2, "same", use_bias=False)])
    encoder.add(layers.Flatten())
    decoder = [layers.Dense(64, use_bias=False), layers.Reshape((4, 4, 4)), layers.Conv2DTranspose(4, 2, 2)]
    return encoder, keras.Sequential([keras.Input((64,)), *decoder, layers.Conv2D(1, 3, padding="same")])


def architectures(encoder=encoder, projector=projector):
    """The methods of several tasks, as functions of further arguments."""

    def some():
        return experts(projector)

    def levels():
        return [some(), some()]

    return {
        "SharedEncoder": lambda **kw: kt.models.SharedEncoder(encoder(), heads(), **kw),
        "SoftSharing": lambda **kw: kt.models.SoftSharing(each(encoder), heads(), pull_weight=0.1, **kw),
        "CrossStitch": lambda **kw: kt.models.CrossStitch(each(lambda: stages(encoder, projector)), heads(), **kw),
        "MixtureOfExperts": lambda **kw: kt.models.MixtureOfExperts(encoder(), some(), heads(), **kw),
        "ProgressiveExtraction": lambda **kw: kt.models.ProgressiveExtraction(
            encoder(), levels(), each(levels), heads(), **kw
        ),
    }


def methods(encoder, adaptable, projector, free_projector, vit, image_networks, shape):
    """The rows of all methods.

    Args:
        encoder: function without arguments that makes a network from inputs to features `(rows, DIM)`.
        adaptable: the same without Dropout, which an inner loop refuses.
        projector: function that makes a network from `(rows, DIM)` to as many.
        free_projector: the same for losses that do not change where all rows move by the same.
        vit: function that makes encoder and decoder of `kt.models.MAE`.
        image_networks: function that makes encoder and decoder of `kt.models.Inpainting`.
        shape: shape of an input.
    """
    m = kt.models

    def deep_encoder(last=projector):
        return keras.Sequential([encoder(), last()])

    def classifier():
        return keras.Sequential([adaptable(), head()])

    on_domains, on_labels, on_views = domains(shape=shape), labelled(shape=shape), views(shape=shape)
    on_episodes = episode_batch(shape=shape)
    ramp = kt.schedules.DannRamp(20)

    def continual(name, *arguments, **more):
        return compiled(remembering(getattr(m, name)(encoder(), head(), *arguments, **more)))

    on_memory = replayed(shape=shape)
    return {
        "DANN": Row(lambda: compiled(m.DANN(encoder(), head(), discriminator(), reversal=ramp)), *on_domains),
        "DeepCORAL": Row(lambda: compiled(m.DeepCORAL(encoder(), head(), coral_weight=100.0)), *on_domains),
        "DAN": Row(lambda: compiled(m.DAN(encoder(), head())), *on_domains),
        "CDAN": Row(lambda: compiled(m.CDAN(encoder(), head(), network(DIM * CLASSES, 1), reversal=ramp)), *on_domains),
        "WDGRL": Row(lambda: compiled(m.WDGRL(encoder(), head(), curved_critic())), *on_domains, draws=True),
        "ADDA": Row(
            lambda: unlabelled(m.ADDA(encoder(), encoder(), head(), discriminator())), *unlabelled_domains(shape=shape)
        ),
        "MCD": Row(lambda: compiled(m.MCD(encoder(), head(), head())), *on_domains),
        "MDD": Row(lambda: compiled(m.MDD(encoder(), head(), head(), reversal=ramp)), *on_domains),
        "JAN": Row(lambda: compiled(m.JAN(encoder(), head())), *on_domains),
        "DeepJDOT": Row(lambda: compiled(m.DeepJDOT(encoder(), head())), *on_domains),
        "TargetTerms": Row(lambda: compiled(m.TargetTerms(encoder(), head(), target_terms())), *on_domains),
        "AdaMatch": Row(lambda: compiled(m.AdaMatch(encoder(), head(), threshold=0.5)), *domain_views(shape=shape)),
        "SelfEnsembling": Row(
            lambda: compiled(m.SelfEnsembling(encoder(), head(), threshold=0.3)), *domain_views(shape=shape)
        ),
        "SHOT": Row(lambda: unlabelled(m.SHOT(encoder(), head())), *target_alone(shape=shape)),
        "L2SP": Row(lambda: compiled(m.L2SP(encoder(), head())), *on_labels),
        "Distillation": Row(
            lambda: compiled(m.Distillation(encoder(), head(), keras.Sequential([encoder(), head()]))), *on_labels
        ),
        "EWC": Row(lambda: continual("EWC", 2.0), *on_labels),
        "SynapticIntelligence": Row(lambda: continual("SynapticIntelligence", 2.0), *on_labels, combines=True),
        "MAS": Row(lambda: continual("MAS", 2.0), *on_labels),
        "LwF": Row(lambda: continual("LwF"), *on_labels),
        "ExperienceReplay": Row(lambda: continual("ExperienceReplay", buffer(shape)), *on_memory),
        "AGEM": Row(lambda: continual("AGEM", buffer(shape)), *on_memory, combines=True),
        "DERpp": Row(lambda: continual("DERpp", buffer(shape)), *with_logits(shape=shape)),
        "ICaRL": Row(lambda: continual("ICaRL", buffer(shape)), *on_memory),
        "GDumb": Row(lambda: continual("GDumb", buffer(shape)), *on_labels),
        "PrototypicalNetwork": Row(lambda: compiled(m.PrototypicalNetwork(deep_encoder(free_projector))), *on_episodes),
        "MatchingNetwork": Row(lambda: compiled(m.MatchingNetwork(deep_encoder(), cosine=True)), *on_episodes),
        "MAML": Row(lambda: compiled(m.MAML(classifier(), steps=2, learn_rates=True)), *on_episodes),
        "ANIL": Row(lambda: compiled(m.ANIL(encoder(), head())), *on_episodes),
        **{
            name: Row(lambda make=make: of_tasks(make(missing=-1)), *tasks(shape=shape))
            for name, make in architectures(encoder, projector).items()
        },
        "SimCLR": Row(lambda: unlabelled(m.SimCLR(encoder(), projector(), chunk_size=3)), *on_views),
        "SupCon": Row(lambda: unlabelled(m.SupCon(encoder(), projector())), *labelled_views(shape=shape)),
        "BYOL": Row(lambda: unlabelled(m.BYOL(encoder(), projector(), projector(), momentum=0.9)), *on_views),
        "SimSiam": Row(lambda: unlabelled(m.SimSiam(encoder(), projector(), projector())), *on_views),
        "BarlowTwins": Row(lambda: unlabelled(m.BarlowTwins(encoder(), free_projector())), *on_views),
        "VICReg": Row(lambda: unlabelled(m.VICReg(encoder(), free_projector())), *on_views),
        "MAE": Row(lambda: unlabelled(m.MAE(*vit())), *images(), draws=True, attends=True, still=("key/bias",)),
        "Inpainting": Row(lambda: unlabelled(m.Inpainting(*image_networks())), *images(), draws=True),
        "Reptile": Row(lambda: compiled(m.Reptile(classifier(), batch_size=3)), *on_episodes),
        "SetFit": Row(lambda: compiled(calibrated(m.SetFit(encoder(), CLASSES))), *texts(shape=shape)),
        "SimCSE": Row(lambda: unlabelled(m.SimCSE(encoder(), projector())), *on_views),
        "LabelDescriptions": Row(lambda: compiled(described(encoder(), shape)), *on_labels),
        **{
            name: Row(lambda name=name: compiled(attributed(getattr(m, name), encoder())), *on_labels)
            for name in ("BilinearCompatibility", "ESZSL", "SAE")
        },
        "DualEncoder": Row(lambda: unlabelled(m.DualEncoder(encoder(), network(5, DIM))), *pairs(shape=shape)),
        "PseudoLabel": Row(
            lambda: compiled(m.PseudoLabel(encoder(), head(), threshold=0.4)), *few_and_one_view(shape=shape)
        ),
        "PiModel": Row(lambda: compiled(m.PiModel(encoder(), head())), *few_and_many(shape=shape)),
        "MeanTeacher": Row(lambda: compiled(m.MeanTeacher(encoder(), head())), *few_and_many(shape=shape)),
        "FixMatch": Row(
            lambda: compiled(m.FixMatch(encoder(), head(), threshold="free", alignment=True)),
            *few_and_many(shape=shape),
        ),
        "MixMatch": Row(lambda: compiled(m.MixMatch(encoder(), head())), *few_and_many(shape=shape), draws=True),
    }


def eagerly(make):
    """Makes a model that is not traced, which takes most of the time of a few steps."""

    def made():
        model = make()
        model.run_eagerly = True
        return model

    return made


ARCHITECTURES = architectures()
OF_TOKENS = {
    "MaskedLanguageModel": Row(
        lambda: unlabelled(kt.models.MaskedLanguageModel(text_encoder())),
        *masked_texts(),
        attends=True,
        still=("key/bias",),
    ),
    "DenoisingText": Row(
        lambda: unlabelled(kt.models.DenoisingText(text_encoder(), text_decoder())),
        *scrambled_texts(),
        attends=True,
        still=("key/bias",),
    ),
}
METHODS = methods(encoder, encoder, projector, free_projector, vit, image_networks, (FEATURES,)) | OF_TOKENS
CONVOLUTIONAL = methods(
    conv_encoder,
    lambda: conv_encoder(dropout=0),
    noisy_projector,
    noisy_projector,
    conv_vit,
    conv_image_networks,
    IMAGE,
)
ON_IMAGES = {name: row._replace(make=eagerly(row.make)) for name, row in CONVOLUTIONAL.items()}
