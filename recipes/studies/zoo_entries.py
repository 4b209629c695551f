"""What the zoo holds: how each model is made by the parts of a recipe, and what its card says beside the numbers."""

import dataclasses
import functools
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import (
    adapt_digits,
    episodes,
    finetune_letters,
    maml_letters,
    maml_sinusoid,
    pretrain_images,
    train_attributes,
)
from keras_transfer.recipes.studies import learn_episodes, learn_to_adapt, pretrain_views, train_tasks

SEED = 0
FONTS = "rendered from the fonts that ship with matplotlib, which are free to use: DejaVu, STIX, Computer Modern"
DEJAVU = "rendered from the DejaVu fonts, which are free to use and ship with matplotlib"
FASHION = "Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), MIT"
OMNIGLOT = "Omniglot (Lake, Salakhutdinov and Tenenbaum 2015), MIT; split of Vinyals et al."
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CLASSIFIER = {"loss": LOSS, "metrics": ["accuracy"]}
READER = finetune_letters.Config(splits=(SEED,))
EPISODES = "stream = kt.streams.episodes(images, labels, ways=5, shots=1, queries=5, batches=steps)\n"
EPISODES += "model.fit(stream, epochs=epochs, shuffle=False)"
LABELLED = "model.fit(images, labels, batch_size=32, epochs=epochs)"


class Made(NamedTuple):
    """What the making of a model leaves.

    Attributes:
        model: the Keras model, with which training goes on.
        x: real inputs as clients will send them, for `kt.export`.
        metrics: list of what `share` and the like return.
        data: dict of arrays of the training by the names that the entry's code uses.
        export: dict of further arguments of `kt.export`.
        compiled: dict of the loss and metrics that the model is compiled with.
        serve: function from the model and the folder of its files to what is exported; None: the model itself.
        files: dict of names of further files to functions that write them to a path.
    """

    model: Any
    x: Any
    metrics: list
    data: dict
    export: dict = {}
    compiled: dict = {}
    serve: Any = None
    files: dict = {}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the zoo, beside what is measured when it is made."""

    make: Any
    """Function of `config` that returns what was `Made`."""
    config: Any
    """Settings of the recipe."""
    what_for: str
    """What it is for, in one sentence."""
    data: tuple[str, ...]
    """Every data set that it was trained on, with its licence."""
    limits: tuple[str, ...]
    """What it was not tried on, or does not do."""
    paper: str
    """Where the method is from."""
    code: str
    """How training goes on, with `model` and the arrays of `data`."""
    rate: float = 1e-3
    """Learning rate of the Adam that the model is saved with."""
    records: tuple[tuple[str, str, str], ...] = ()
    """Of full runs of the recipe: file in results/, key in it, and what it says."""


def share(name, right, rows, of="test images"):
    """Returns a share of right answers with Wilson's 95 % interval, as a card has it.

    Args:
        name: str, what is measured.
        right: float, the share.
        rows: int, of how many.
        of: str, of what.
    """
    from scipy.stats import binomtest

    found = binomtest(round(right * rows), rows).proportion_ci(method="wilson")
    return {"name": name, "unit": "accuracy", **interval(right, found.low, found.high), "over": f"{rows:,} {of}"}


def mean_error(name, values, of):
    """Returns the mean of squared errors with its 95 % interval, as a card has it."""
    values = np.asarray(values, "float64")
    margin = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    found = interval(values.mean(), values.mean() - margin, values.mean() + margin)
    return {"name": name, "unit": "squared error", **found, "over": f"{len(values):,} {of}"}


def episode_accuracy(name, report):
    """Returns the accuracy of a few-shot report with its interval, as a card has it."""
    size, found = report.protocol, interval(report.mean, report.mean - report.margin, report.mean + report.margin)
    name = f"{name}, {size['ways']}-way {size['shots']}-shot"
    return {"name": name, "unit": "accuracy", **found, "over": f"{len(report.accuracies):,} episodes"}


def interval(value, low, high):
    """Returns a number and the ends of its interval by their names."""
    return {"value": float(value), "low": float(low), "high": float(high)}


def digits_adapted(config):
    """AdaMatch on printed digits, and on handwritten ones without labels."""
    data = adapt_digits.load(config)
    found = {arm: adapt_digits.train(config, arm, SEED, data) for arm in ("source_only", "adamatch")}
    rows = len(data["target_test"][0])
    metrics = [
        share("handwritten digits", found["adamatch"][-1]["target_accuracy"], rows),
        share("trained on printed digits alone", found["source_only"][-1]["target_accuracy"], rows),
        share("printed digits", found["adamatch"][-1]["source_accuracy"], len(data["source_test"][0])),
    ]
    given = {**dict(zip(("images", "labels"), data["source"])), "target_images": data["target"][0]}
    x = data["target_test"][0][:64]
    return Made(found["adamatch"][0], x, metrics, given, {"classes": adapt_digits.CLASSES}, CLASSIFIER)


def strided():
    """A new encoder that MAML's paper has for Omniglot, which trains in a fraction of the time."""
    return maml_letters.networks(1)[0]


def prototypes(config, of, new=episodes.build):
    """A prototypical network, with a distance beyond which it says that it does not know."""
    training, validation, test = learn_episodes.load(config)
    encoder, _ = episodes.train(config, SEED, training, new, rotations=True)
    features = learn_episodes.features(encoder, test)
    sizes = [(ways, shots, 15, config.test_episodes) for ways, shots in learn_episodes.SIZES]
    reports = learn_episodes.measure(config, "prototypical", SEED, features, sizes)
    model = kt.models.PrototypicalNetwork(encoder)
    model.calibrate(kt.streams.episodes(*validation, ways=5, shots=5, queries=10, batches=100, seed=SEED), known=0.95)
    requests = episodes.requests(test, [(3, 2, 3), (7, 1, 3), (10, 4, 3)])
    metrics = [episode_accuracy(of, report) for report in reports]
    given = dict(zip(("images", "labels"), training))
    return Made(model, test[0][:8], metrics, given, {"verify": requests}, CLASSIFIER)


def omniglot_maml(config):
    """MAML on Omniglot."""
    training, _, test = learn_episodes.load(config)
    model, _ = learn_to_adapt.train(config, SEED, training)
    report = learn_to_adapt.measure(config, SEED, model, test)
    sizes = [(config.ways, shots, 3 + shots) for shots in (1, 2, 5)]
    export = {"outputs": "logits", "verify": episodes.requests(test, sizes, rotations=True), "tolerance": 1e-4}
    given = dict(zip(("images", "labels"), training))
    metrics = [episode_accuracy("characters never seen", report)]
    return Made(model, test[0][:8], metrics, given, export, CLASSIFIER)


def sinusoids_maml(config):
    """MAML on sinusoids."""
    networks, _ = maml_sinusoid.train(config, SEED)
    chosen_on = kt.datasets.sinusoids(config.test_tasks, config.shots, 100, seed=10_000)
    after = {
        rate: maml_sinusoid.errors(networks["pretrained"], rate, [1], chosen_on)[0] for rate in maml_sinusoid.RATES
    }
    best = min((rate for rate in after if after[rate] is not None), key=after.get)
    x, y = kt.datasets.sinusoids(config.test_tasks, config.shots, 100, seed=20_000)

    def squared_errors(arm, rate, steps):
        model = maml_sinusoid.adapting(networks[arm], rate, steps)
        answers = model.predict(x, batch_size=100, verbose=0)["prediction"]
        return np.square(answers - y).mean(axis=(1, 2))

    metrics = [
        mean_error(f"new sinusoids, after {told}", squared_errors(arm, rate, steps), "tasks")
        for arm, rate, steps, told in (
            ("maml", config.inner_rate, 1, "1 step"),
            ("maml", config.inner_rate, config.test_steps, f"{config.test_steps} steps"),
            ("pretrained", best, 1, "1 step, trained on all together"),
        )
    ]
    tasks, targets = kt.datasets.sinusoids(50, config.shots, config.shots, seed=1)
    points, examples, query = (*tasks["support"], tasks["query"])
    given = {"points": points, "targets": examples, "query": query, "query_targets": targets}
    request = {"support": (points[0], examples[0]), "query": query[0]}
    more = [{"support": (points[1][:4], examples[1][:4]), "query": query[1][:2]}]
    model = maml_sinusoid.adapting(networks["maml"], config.inner_rate, config.test_steps)
    return Made(model, request, metrics, given, {"verify": more}, {"loss": "mse"})


def small_simclr(config, shape, steps):
    """SimCLR with a smaller encoder than the recipe's."""
    encoder = pretrain_images.build_encoder(shape, filters=24)
    projector = pretrain_images.mlp(encoder.output_shape[-1], 192, 96)
    return pretrain_images.compile_model(config, kt.models.SimCLR(encoder, projector, temperature=0.5), steps), encoder


def small_mae(config, shape, steps):
    """MAE with a smaller Vision Transformer than the recipe's."""
    encoder = kt.backbones.small_vit(shape, pretrain_views.patch_size(shape), dim=64, blocks=4)
    decoder = kt.backbones.small_vit_decoder(encoder, dim=48, blocks=1)
    return pretrain_images.compile_model(config, kt.models.MAE(encoder, decoder, normalize=False), steps), encoder


def garments(config, make):
    """An encoder of garments, learned without labels; all labels are for the probes that it is measured by."""
    (images, labels), (test, test_labels), _ = pretrain_views.load(config)
    model = pretrain_views.pretrain(config, SEED, images, labels, None, make)[0]
    keras.utils.set_random_seed(SEED)
    untrained = make(config, images.shape[1:], 1)[1]
    pixels = [rows.reshape(len(rows), -1) / np.float32(255) for rows in (images, test)]
    features = {
        "": [model.predict(rows, batch_size=500, verbose=0) for rows in (images, test)],
        ", encoder not trained": [untrained.predict(rows, batch_size=500, verbose=0) for rows in (images, test)],
        ", pixels": pixels,
    }
    metrics = []
    for of, (x, z) in features.items():
        right = kt.metrics.linear_accuracy(x, labels, z, test_labels, steps=100)
        metrics.append(share(f"linear probe with all labels{of}", right, len(z)))
    return Made(model, test[:64], metrics, {"images": images})


def tasks(config, load, make=train_attributes.build):
    """A model of several tasks, each of which has labels of a part of the images."""
    x, y, names = load(config)
    missing = np.random.default_rng(SEED).random((len(names), len(x["train"]))) < config.missing
    labels = {task: np.where(gone, -1, y["train"][task]) for gone, task in zip(missing, names)}
    model, _, _ = train_attributes.train(config, SEED, config.rates[0], names, x["train"], labels, make)
    found = train_attributes.accuracies(model, names, x["test"], y["test"])
    metrics = [share(f"{task}", found[task], int((y["test"][task] >= 0).sum())) for task in names]
    compiled = {"loss": LOSS, "weighted_metrics": [["accuracy"]] * len(names)}
    return Made(model, x["test"][:64], metrics, {"images": x["train"], **labels}, {"classes": names}, compiled)


@functools.cache
def reader():
    """The small CNN that has learned to read Greek and Cyrillic letters."""
    return finetune_letters.pretrain(READER)


@functools.cache
def georgian():
    """Views of ten images of each Georgian letter, their labels, all other images, theirs, and the letters."""
    x, y, names = finetune_letters.load()
    few, rest = finetune_letters.draw_split(READER.labels_per_class, y, SEED)
    views = finetune_letters.augment(READER, x[few], SEED)
    return views, np.tile(y[few], READER.views), x[rest], y[rest], names


@functools.cache
def georgian_reader():
    """LP-FT on Georgian letters; with the accuracy of the logistic regression that it begins from."""
    views, labels, test, test_labels, _ = georgian()
    encoder = finetune_letters.build(reader())
    features, seen = (encoder.predict(rows, batch_size=256, verbose=0) for rows in (views, test))
    probe, _ = kt.metrics.tuned_probe(features, labels, views=READER.views)
    keras.utils.set_random_seed(SEED)
    model = keras.Sequential([encoder, kt.metrics.probe_head(probe)])
    finetune_letters.fit(READER, "lp_ft", model, views, labels, READER.learning_rate, READER.steps)
    return model, float(probe.score(seen, test_labels))


def georgian_finetuned(config):
    """All weights fine-tuned from a logistic regression of the features."""
    views, labels, test, test_labels, names = georgian()
    model, before = georgian_reader()
    metrics = [
        share("Georgian letters", finetune_letters.accuracy(model, test, test_labels), len(test)),
        share("logistic regression of the features, on the same views", before, len(test)),
    ]
    return Made(model, test[:64], metrics, {"images": views, "labels": labels}, {"classes": names}, CLASSIFIER)


def georgian_student(config):
    """A small network that learns what the fine-tuned one says of letters without labels too."""
    views, labels, test, test_labels, names = georgian()
    taught, metrics, models = georgian_reader()[0], [], {}
    teacher = keras.models.clone_model(taught)  # which a student freezes
    teacher.set_weights(taught.get_weights())
    unlabelled = kt.datasets.glyphs(names, n=10_000, seed=2).images
    said = teacher.predict(unlabelled, batch_size=256, verbose=0).argmax(-1)
    everything = np.concatenate([views, unlabelled]), np.concatenate([labels, said])
    for arm, of in (("distilled", ""), ("alone", ", the same network from the labels alone")):
        keras.utils.set_random_seed(SEED)
        encoder, head = kt.backbones.small_cnn((28, 28, 1), dim=32), keras.Sequential([layers.Dense(len(names))])
        head.build((None, 32))
        distilled = kt.models.Distillation(encoder, head, teacher, temperature=4.0)
        models[arm], x, y = (
            (distilled, *everything) if arm == "distilled" else (keras.Sequential([encoder, head]), views, labels)
        )
        finetune_letters.fit(config, arm, models[arm], x, y, config.learning_rate, config.steps)
        right = finetune_letters.accuracy(models[arm], test, test_labels)
        metrics.append(share(f"Georgian letters{of}", right, len(test)))
    right = finetune_letters.accuracy(teacher, test, test_labels)
    metrics.append(share("Georgian letters, the teacher", right, len(test)))
    given = dict(zip(("images", "labels"), everything))
    return Made(models["distilled"], test[:64], metrics, given, {"classes": names}, CLASSIFIER)


CAPITALS = "ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ"
ALPHABETS = {"capitals": CAPITALS, "small_letters": CAPITALS.lower()}


def armenian_base():
    """The reader of Greek and Cyrillic, with a head for the 38 letters of Armenian that says nothing yet."""
    head = layers.Dense(len(CAPITALS), kernel_initializer="zeros", name="logits")
    model = keras.Sequential([finetune_letters.build(reader()), head])
    model.build((None, 28, 28, 1))
    return model


def armenian_lora(config):
    """Two adapters on one base: capitals and small letters of Armenian."""
    metrics, adapters, tests, given = [], {}, {}, {}
    for number, (alphabet, letters) in enumerate(ALPHABETS.items()):
        x, y = kt.datasets.glyphs(letters, n=finetune_letters.IMAGES, seed=number)[:2]
        few, rest = finetune_letters.draw_split(config.labels_per_class, y, SEED)
        views, labels = finetune_letters.augment(config, x[few], SEED), np.tile(y[few], config.views)
        model = armenian_base()
        keras.utils.set_random_seed(SEED)
        kt.finetuning.lora.attach(model, rank=4, also_train=[r"(.*/)?logits", r"(.*/)?bn_\d"])
        finetune_letters.fit(config, alphabet, model, views, labels, config.learning_rate, config.steps)
        right = finetune_letters.accuracy(model, x[rest], y[rest])
        metrics.append(share(f"Armenian {alphabet.replace('_', ' ')}", right, len(rest)))
        finetune_letters.compile_model(model, keras.optimizers.Adam())  # whose state is not saved
        adapters[f"{alphabet}.npz"] = functools.partial(kt.finetuning.lora.save, model)
        tests[alphabet], given = x[rest][:32], {"images": views, "labels": labels}

    def serve(folder):
        return kt.finetuning.AdapterBank(armenian_base(), [folder / name for name in adapters])

    images = np.stack(list(tests.values()), axis=1).reshape(-1, 28, 28, 1)  # one of each in turn
    x = {"images": images, "adapter_id": np.tile(np.arange(2, dtype="int32"), 32)}
    export = {"classes": [f"{capital} {small}" for capital, small in zip(*ALPHABETS.values())]}
    return Made(armenian_base(), x, metrics, given, export, CLASSIFIER, serve, adapters)


UNSEEN_FONTS = "Other fonts than those that ship with matplotlib, scans, photographs and handwriting were not tried."
PRINTED = ("Greek and Cyrillic letters, " + FONTS,)
ONE_TRAINING = "One training: the intervals speak of other test data, not of another seed."

ENTRIES = {
    "digits_adapted": Entry(
        digits_adapted,
        adapt_digits.Config(method=("adamatch",), seeds=(SEED,)),
        "Tells handwritten digits apart, learned from printed digits with labels and handwritten ones without.",
        (f"printed digits, {FONTS}", "handwritten digits of scikit-learn (Alpaydin and Kaynak 1998), CC BY 4.0"),
        (
            "Handwriting of other people, pens and countries than those 1,797 digits was not tried.",
            "One digit in the middle of 28 x 28 pixels, bright on dark; it has no answer for anything else.",
        ),
        "Berthelot, Roelofs, Sohn, Carlini and Kurakin, AdaMatch: A Unified Approach to Semi-Supervised Learning and "
        "Domain Adaptation, ICLR 2022, arXiv:2106.04732",
        "views = dict.fromkeys(('source', 'target_weak', 'target_strong'))  # better: an augmentation for each\n"
        "stream = kt.streams.domains((images, labels), target_images, batch_size=32, augment=views)\n"
        "model.fit(stream, epochs=epochs, shuffle=False)",
        records=(
            (
                "adapt_digits/printed_handwritten.json",
                "means.adamatch.target_accuracy",
                "the recipe, mean of its seeds",
            ),
            (
                "adapt_digits/printed_handwritten.json",
                "means.source_only.target_accuracy",
                "the recipe's baseline, trained on printed digits alone",
            ),
        ),
    ),
    "letters_prototypes": Entry(
        functools.partial(prototypes, of="letters of new scripts"),
        learn_episodes.Config(method=("prototypical",), baselines=False, seeds=(SEED,)),
        "Tells printed letters of any script apart from one example of each, given with the request.",
        (f"Latin, Greek and Cyrillic letters, {FONTS}",),
        (UNSEEN_FONTS, "An encoder that was trained to classify, with the nearest mean, does as well: see the record."),
        "Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017, arXiv:1703.05175",
        EPISODES,
        records=(
            (
                "learn_episodes/glyphs_1.json",
                "tests.prototypical.0.reports.0.accuracy",
                "the study, 5-way 1-shot, its first seed",
            ),
            (
                "learn_episodes/glyphs_1.json",
                "tests.simple_shot.0.reports.0.accuracy",
                "its baseline SimpleShot, 5-way 1-shot, first seed",
            ),
        ),
    ),
    "omniglot_prototypes": Entry(
        functools.partial(prototypes, of="characters never seen", new=strided),
        learn_episodes.Config(data="omniglot", method=("prototypical",), baselines=False, seeds=(SEED,), steps=2500),
        "Tells handwritten characters of any alphabet apart from one example of each, given with the request.",
        (OMNIGLOT,),
        (
            "Trained far shorter than the study, with convolutions of stride 2 instead of pooling.",
            "Characters drawn online, reduced to 28 x 28 pixels, ink 255 on 0; scans and whole words were not tried.",
        ),
        "Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017, arXiv:1703.05175",
        EPISODES,
        records=(
            (
                "learn_episodes/omniglot_1.json",
                "tests.prototypical.0.reports.0.accuracy",
                "the study, 5-way 1-shot, trained longer",
            ),
        ),
    ),
    "omniglot_maml": Entry(
        omniglot_maml,
        learn_to_adapt.Config(data="omniglot", method="maml", seeds=(SEED,), steps=3000),
        "Adapts its weights to five handwritten characters from one example of each, inside the served graph.",
        (OMNIGLOT,),
        (
            "Trained far shorter than the study, whose record is beside.",
            "Five classes in each request, no more and no fewer.",
            "In the studies prototypical networks are more accurate on these characters, with any number of classes.",
        ),
        "Finn, Abbeel and Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017, "
        "arXiv:1703.03400",
        EPISODES,
        records=(
            (
                "learn_to_adapt/omniglot_maml.json",
                "tests.maml.0.reports.0.accuracy",
                "the study, 5-way 1-shot, trained longer, on validation characters and mirrored ones too",
            ),
        ),
    ),
    "sinusoids_maml": Entry(
        sinusoids_maml,
        maml_sinusoid.Config(seeds=(SEED,), iterations=20_000),
        "Fits a sinusoid from ten points by gradient steps inside the served graph: the smallest that adapts.",
        ("sinusoids of random amplitude and phase, simulated",),
        (
            "Amplitudes from 0.1 to 5 and inputs from -5 to 5, as in training; it knows no other frequency.",
            "Trained shorter than the recipe, whose record is beside.",
        ),
        "Finn, Abbeel and Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017, "
        "arXiv:1703.03400",
        'x = {"support": (points, targets), "query": query}\nmodel.fit(x, query_targets, batch_size=25, epochs=epochs)',
        records=(("maml_sinusoid/10.json", "mean_squared_error.maml.0.1", "the recipe, after 1 step, its first seed"),),
    ),
    "garments_simclr": Entry(
        functools.partial(garments, make=small_simclr),
        pretrain_views.Config(data="fashion_mnist", method="simclr", seeds=(SEED,), epochs=5),
        "Turns pictures of garments into features, learned without labels: to search, or to learn from few.",
        (FASHION,),
        (
            "Trained shorter than the study, with a smaller encoder.",
            "Garments alone on black, 28 x 28 grey pixels; photographs of them were not tried.",
            "The labels of the probes were no part of its training.",
        ),
        "Chen, Kornblith, Norouzi and Hinton, A Simple Framework for Contrastive Learning of Visual Representations, "
        "ICML 2020, arXiv:2002.05709",
        "augment = keras.Sequential([kt.layers.RandomResizedCrop(28, 28), keras.layers.RandomFlip('horizontal')])\n"
        "model.fit(kt.streams.views(images, augment, batch_size=32), epochs=epochs, shuffle=False)",
        records=(
            (
                "pretrain_views/fashion_mnist_simclr.json",
                "all_labels.simclr.0.linear_accuracy",
                "the study, linear probe with all labels, a larger encoder trained longer, first seed",
            ),
        ),
    ),
    "garments_mae": Entry(
        functools.partial(garments, make=small_mae),
        pretrain_views.Config(
            data="fashion_mnist", method="mae", seeds=(SEED,), epochs=3, batch_size=64, learning_rate=1e-3
        ),
        "Turns pictures of garments into features by a small Vision Transformer that learned to fill in hidden parts.",
        (FASHION,),
        (
            "Trained shorter than the study, with a smaller encoder.",
            "Garments alone on black, 28 x 28 grey pixels; photographs of them were not tried.",
            "The labels of the probes were no part of its training.",
        ),
        "He, Chen, Xie, Li, Dollar and Girshick, Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, "
        "arXiv:2111.06377",
        'model.fit({"image": images}, batch_size=32, epochs=epochs)',
        records=(
            (
                "pretrain_views/fashion_mnist_mae.json",
                "all_labels.mae.0.linear_accuracy",
                "the study, linear probe with all labels, a larger encoder trained longer, first seed",
            ),
        ),
    ),
    "letter_attributes": Entry(
        functools.partial(tasks, load=train_attributes.load),
        train_attributes.Config(seeds=(SEED,), epochs=15, rates=(2e-3,)),
        "Says of a printed letter its script, case, base letter and diacritic, each of which can be asked for alone.",
        (f"letters of five scripts, {DEJAVU}",),
        (
            "Trained shorter than the study; tested on fonts of the same family that it was not trained on.",
            "Fonts that are no DejaVu, scans, photographs and handwriting were not tried.",
        ),
        "Caruana, Multitask Learning, Machine Learning 28, 1997",
        'labels = {"script": script, "case": case, "base": base, "diacritic": diacritic}  # -1 where there is none\n'
        "model.fit(images, labels, batch_size=32, epochs=epochs)",
        records=(
            (
                "train_tasks/glyphs_shared_encoder_equal.json",
                "accuracy.shared.0.script",
                "the study, script, first seed",
            ),
            (
                "train_tasks/glyphs_shared_encoder_equal.json",
                "accuracy.script.0.script",
                "its single-task model of the script",
            ),
        ),
    ),
    "two_garments": Entry(
        functools.partial(tasks, load=train_tasks.load),
        train_tasks.Config(
            data="multi_fashion", missing=0.0, seeds=(SEED,), images=32_000, epochs=6, batch_size=256, rates=(2e-3,)
        ),
        "Names two garments that overlap in one picture, each of which can be asked for alone.",
        (f"{FASHION}; laid over one another in pairs",),
        (
            "Trained on half of the study's images, and shorter.",
            "Two garments, one at the top left and one at the bottom right, always.",
        ),
        "Caruana, Multitask Learning, Machine Learning 28, 1997; data as in Lin et al., Pareto Multi-Task Learning, "
        "NeurIPS 2019, arXiv:1912.12854",
        'model.fit(images, {"left": left, "right": right}, batch_size=32, epochs=epochs)',
        records=(
            (
                "train_tasks/multi_fashion_shared_encoder_equal.json",
                "accuracy.shared.0.left",
                "the study, left, first seed",
            ),
            (
                "train_tasks/multi_fashion_shared_encoder_equal.json",
                "accuracy.left.0.left",
                "its single-task model of the left garment",
            ),
        ),
    ),
    "georgian_finetuned": Entry(
        georgian_finetuned,
        READER,
        "Reads Georgian letters: an encoder of Greek and Cyrillic, fine-tuned on ten examples of each.",
        (*PRINTED, f"Georgian letters, {DEJAVU}"),
        (UNSEEN_FONTS,),
        "Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022, "
        "arXiv:2202.10054",
        LABELLED,
    ),
    "georgian_student": Entry(
        georgian_student,
        READER,
        "Reads Georgian letters with a tiny network, taught by the fine-tuned one on letters without labels too.",
        (*PRINTED, f"Georgian letters, {DEJAVU}"),
        (
            UNSEEN_FONTS,
            "The teacher is saved with it, for training to go on, and is not served.",
            "Besides the ten labelled images of each letter it saw 10,000 images that the teacher alone has labelled.",
        ),
        "Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2014, arXiv:1503.02531",
        LABELLED,
    ),
    "armenian_lora": Entry(
        armenian_lora,
        READER,
        "Reads Armenian capitals or small letters with one base and an adapter for each, chosen row by row.",
        (*PRINTED, f"Armenian letters, {DEJAVU}"),
        (UNSEEN_FONTS, "It does not tell which alphabet a letter is of: the request says so by `adapter_id`."),
        "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685",
        "model.compile(keras.optimizers.Adam(1e-3), model.loss, metrics=['accuracy'])  # of other weights than before\n"
        'kt.finetuning.lora.load(model, kt.zoo.path("armenian_lora") / "small_letters.npz")\n' + LABELLED,
    ),
}
