"""Every method, on drawn batches: a step gives the loss that NumPy gives, or an error says what is wrong with what."""

import re
from typing import Any, NamedTuple

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_transfer as kt
from tests import contract, oracles
from tests.contract import CLASSES, DIM, FEATURES, encoder, free_projector, network, projector, remembering

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="steps are traced on other backends")

SEEDED = hypothesis.settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
m = kt.models


def user_loss(y_true, y_pred):
    """A function of a user's own, which broadcasts what has other shapes."""
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


class Loss(NamedTuple):
    make: Any  # () -> what `compile` gets
    outputs: int  # of the head
    value: Any  # NumPy's, a function of labels and predictions
    slope: Any = None  # its gradient


LOSSES = {
    "sparse": Loss(
        lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        CLASSES,
        oracles.sparse,
        oracles.sparse_slope,
    ),
    "categorical": Loss(lambda: keras.losses.CategoricalCrossentropy(from_logits=True), CLASSES, oracles.categorical),
    "squared": Loss(lambda: "mse", 1, oracles.squared, oracles.squared_slope),
    "several": Loss(lambda: keras.losses.MeanSquaredError(), CLASSES, oracles.squared, oracles.squared_slope),
    "function": Loss(lambda: user_loss, 1, oracles.squared, oracles.squared_slope),
}


class Batch(NamedTuple):
    x: Any
    y: Any
    wrong: str | None = None  # a pattern of what an error has to name; None: nothing is wrong


# What is drawn.

CELLS = ("float32", "float32", "float64", "float16", "int8", "int32", "int64", "uint8", "bool")
LABELS = ("int8", "int16", "int32", "int64", "uint8", "float32", "float64", "bool")
SCALES = (1.0, 1e-3, 30.0)


@st.composite
def cells(draw, shape, dtype=None, scales=SCALES):
    """Finite numbers of any dtype and range."""
    dtype = draw(st.sampled_from(CELLS)) if dtype is None else dtype
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = rng.normal(size=shape) * draw(st.sampled_from(scales))
    if dtype == "bool":
        return values > 0
    return (np.abs(values) if dtype == "uint8" else values.clip(-120, 120)).astype(dtype)


X_FAULTS = ("none",) * 24 + ("width", "rank", "strings", "nan", "infinity")


@st.composite
def inputs(draw, rows, shape=(FEATURES,), name="[Ii]nput|`x`", scales=SCALES):
    """Rows of inputs, and what an error has to name where they are wrong."""
    fault = draw(st.sampled_from(X_FAULTS))
    x = draw(cells((rows, *shape), scales=scales))
    if fault == "none":
        return x, None
    if fault == "width":
        x = np.concatenate([x, x], axis=-1)
    elif fault == "rank":
        x = np.stack([x, x], axis=1)
    elif fault == "strings":
        x = x.astype(str).astype(object)
    else:
        x = x.astype("float32")
        x.flat[draw(st.integers(0, x.size - 1))] = {"nan": np.nan, "infinity": -np.inf}[fault]
    return x, name


Y_KINDS = ("numbers",) * 8 + ("column", "one hot", "soft", "beyond", "negative", "fractions", "nan", "strings", "rank")
Y_KINDS += ("too few",)


@st.composite
def labels_of(draw, shape, classes):
    """Labels `shape`, or what somebody may take for such."""
    kind = draw(st.sampled_from(Y_KINDS))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    dtype = draw(st.sampled_from(LABELS))
    numbers = rng.integers(0, 2 if dtype == "bool" else classes, shape).astype(dtype)
    if kind == "column":
        return numbers[..., None]
    if kind == "one hot":
        return np.eye(classes)[numbers.astype(int)].astype(dtype)
    if kind == "soft":
        return rng.random((*shape, classes)).astype("float32")
    if kind == "rank":
        return np.stack([numbers] * 3, axis=-1)[..., None]
    if kind == "strings":
        return np.array(["cat", "dog", "emu"])[numbers.astype(int) % 3]
    if kind == "too few":
        return numbers[..., :-1] if shape[-1] > 1 else np.concatenate([numbers, numbers], axis=-1)
    if kind in ("fractions", "nan"):
        numbers = numbers.astype("float32")
        numbers.flat[-1] = 0.5 if kind == "fractions" else np.nan
    if kind in ("beyond", "negative"):
        numbers = numbers.astype("int64" if kind == "negative" else dtype if dtype != "bool" else "uint8")
        numbers.flat[-1] = -1 if kind == "negative" else classes + 2
    return numbers


def fits(loss, y, shape, classes=None):
    """Whether labels are what a loss reads beside predictions `(*shape, outputs)`."""
    if y.dtype.kind not in "biuf" or not np.isfinite(y.astype("float64")).all():
        return False
    outputs = LOSSES[loss].outputs
    if loss == "sparse":
        classes = outputs if classes is None else classes
        whole = (y == np.floor(y.astype("float64"))).all() and y.min() >= 0 and y.max() < classes
        return y.shape in (shape, (*shape, 1)) and bool(whole)
    return y.shape in ((*shape, outputs), (*shape, outputs, 1)) or outputs == 1 and y.shape == shape


@st.composite
def targets(draw, loss, shape, classes=None):
    """Labels for one loss, and what an error has to name where they do not fit."""
    y = draw(labels_of(shape, LOSSES[loss].outputs if classes is None else classes))
    if loss != "sparse" and draw(st.booleans()):  # those that fit would be rare
        y = draw(cells((*shape, LOSSES[loss].outputs), draw(st.sampled_from(LABELS))))
    right = fits(loss, y, shape, classes)
    readable = y.dtype.kind in "biuf" and np.isfinite(y.astype("float64")).all() and y.shape[0] == shape[0]
    hypothesis.assume(right or loss != "function" or not readable)  # what it makes of other shapes is the user's matter
    return y, None if right else "[Ll]abels"


def joined(*wrong):
    """A pattern of what an error may name where several things are wrong."""
    return "|".join(one for one in wrong if one) or None


sizes = st.integers(1, 8)


@st.composite
def plain(draw, loss):
    rows = draw(sizes)
    (x, bad_x), (y, bad_y) = draw(inputs(rows)), draw(targets(loss, (rows,)))
    return Batch(x, y, joined(bad_x, bad_y))


@st.composite
def domains(draw, loss, least=1, target_least=1):
    rows, target_rows = draw(sizes), draw(sizes)
    (source, bad_source), (y, bad_y) = draw(inputs(rows, name="source|[Ii]nput")), draw(targets(loss, (rows,)))
    target, bad_target = draw(inputs(target_rows, name="target|[Ii]nput"))
    few = "source.*target" if min(rows, target_rows) < least else None
    few = "at least 2 rows" if target_rows < target_least else few
    return Batch({"source": source, "target": target}, y, joined(bad_source, bad_target, bad_y, few))


@st.composite
def unlabelled_domains(draw, loss):
    (source, bad_source), (target, bad_target) = (
        draw(inputs(draw(sizes), name=f"{name}|[Ii]nput")) for name in ("source", "target")
    )
    y = draw(st.none() | labels_of((len(source),), 3)) if draw(st.booleans()) else None
    return Batch(
        {"source": source, "target": target}, y, joined(bad_source, bad_target, None if y is None else "labels")
    )


@st.composite
def domain_views(draw, loss):
    rows, target_rows = draw(sizes), draw(sizes)
    (source, bad_source), (y, bad_y) = draw(inputs(rows, name="source|[Ii]nput")), draw(targets(loss, (rows,)))
    each = {f"target_{view}": draw(inputs(target_rows, name="target|[Ii]nput")) for view in ("weak", "strong")}
    wrong = joined(bad_source, bad_y, *(bad for _, bad in each.values()))
    return Batch({"source": source, **{name: x for name, (x, _) in each.items()}}, y, wrong)


@st.composite
def few_and_many(draw, loss, views=("_weak", "_strong")):
    rows, many = draw(sizes), draw(sizes)
    (few, bad_few), (y, bad_y) = draw(inputs(rows, name="labelled|[Ii]nput")), draw(targets(loss, (rows,)))
    each = {f"unlabelled{view}": draw(inputs(many, name="labelled|[Ii]nput")) for view in views}
    wrong = joined(bad_few, bad_y, *(bad for _, bad in each.values()))
    return Batch({"labelled": few, **{name: x for name, (x, _) in each.items()}}, y, wrong)


@st.composite
def pairs(draw, loss):
    rows = draw(sizes)
    (image, bad), (said, bad_said) = (draw(inputs(rows, name="image|description|[Ii]nput")) for _ in range(2))
    y = draw(st.none() | labels_of((rows,), 4)) if draw(st.booleans()) else None
    few = "at least 2 examples" if rows < 2 else None
    return Batch({"image": image, "description": said}, y, joined(bad, bad_said, few, None if y is None else "labels"))


@st.composite
def target_alone(draw, loss):
    rows = draw(sizes)
    x, bad = draw(inputs(rows, name="target|[Ii]nput", scales=(1.0, 3.0)))  # of near ties float32 makes other labels
    y = draw(st.none() | labels_of((rows,), 3)) if draw(st.booleans()) else None
    return Batch(
        {"target": x}, y, joined(bad, "at least 2 rows" if rows < 2 else None, None if y is None else "labels")
    )


@st.composite
def rehearsal(draw, loss, logits=False):
    """Rows of the present task and of a buffer."""
    rows, kept = draw(sizes), draw(sizes)
    (now, bad_now), (y, bad_y) = draw(inputs(rows, name="current|[Ii]nput")), draw(targets(loss, (rows,)))
    (then, bad_then), (labels, bad_labels) = draw(inputs(kept, name="memory|[Ii]nput")), draw(targets(loss, (kept,)))
    memory = {"x": then, "y": labels}
    if logits:
        memory["logits"] = draw(cells((kept, CLASSES), "float32", scales=(1.0,)))
        memory["logits"][draw(st.integers(0, kept - 1)) :] = np.nan  # rows that nothing was said of
    return Batch({"current": now, "memory": memory}, y, joined(bad_now, bad_then, bad_y, bad_labels))


@st.composite
def views(draw, loss, least=1, labelled=False):
    rows = draw(sizes)
    first, bad = draw(inputs(rows, name="view_1|[Ii]nput"))
    second, bad_second = draw(inputs(rows, name="view_2|[Ii]nput"))
    few = "at least 2 examples" if rows < least else None
    if labelled:
        y = draw(labels_of((rows,), 4))
        ordinary = y.dtype.kind in "biuf" and y.shape == (rows,) and (y == np.floor(y.astype("float64"))).all()
        bad_y = None if ordinary else "labels"
    else:
        y = draw(st.none() | labels_of((rows,), 4)) if draw(st.booleans()) else None
        bad_y = None if y is None else "labels"
    return Batch({"view_1": first, "view_2": second}, y, joined(bad, bad_second, few, bad_y))


@st.composite
def texts(draw, loss):
    rows = draw(sizes)
    x, bad = draw(inputs(rows, name="text|[Ii]nput"))
    y = draw(labels_of((rows,), 4))
    ordinary = y.dtype.kind in "biuf" and y.shape == (rows,) and (y == np.floor(y.astype("float64"))).all()
    return Batch({"text": x}, y, joined(bad, None if ordinary else "labels"))


@st.composite
def images(draw, loss):
    rows = draw(sizes)
    x, bad = draw(inputs(rows, (8, 8, 1), "image|[Ii]nput"))
    y = draw(st.none() | labels_of((rows,), 3)) if draw(st.booleans()) else None
    return Batch({"image": x}, y, joined(bad, None if y is None else "labels"))


@st.composite
def episodes(draw, loss, by_rows=False, scales=SCALES):
    number, ways, shots, queries = (draw(st.integers(1, most)) for most in (2, CLASSES, 2, 2))
    rows, asked = ways * shots, ways * queries
    classes = rows if by_rows else None
    support, bad_support = draw(inputs(number * rows, name="support|[Ii]nput", scales=scales))
    query, bad_query = draw(inputs(number * asked, name="query|[Ii]nput"))
    support, query = (part.reshape(number, -1, *part.shape[1:]) for part in (support, query))
    labels, bad_labels = draw(targets(loss, (number, rows), classes))
    if by_rows and labels.shape != (number, rows):
        bad_labels = "[Ll]abels"
    answers, bad_answers = draw(targets(loss, (number, asked), classes))
    wrong = joined(bad_support, bad_query, bad_labels, bad_answers)
    return Batch({"support": (support, labels), "query": query}, answers, wrong)


# The networks before a step, and what NumPy makes of their outputs.


def run(part, *values):
    """The output of networks one after the other, float64."""
    values = [np.asarray(value, "float32") for value in values]
    outputs = [keras.ops.convert_to_numpy(part(value)).astype("float64") for value in values]
    return outputs[0] if len(outputs) == 1 else outputs


def chain(*networks):
    def apply(x):
        for one in networks:
            x = one(x)
        return x

    return apply


def weights(part):
    return [keras.ops.convert_to_numpy(w).astype("float64") for w in part.trainable_variables]


def real(y):
    return np.asarray(y).astype("float64")


def of_domains(align):
    def terms(model, x, y, loss):
        source, target = run(model.encoder, x["source"], x["target"])
        return {"task": (1.0, loss.value(real(y), run(model.head, source))), **align(model, source, target)}

    return terms


def dann(model, source, target):
    return {"domain": (1.0, oracles.domain(*run(model.discriminator, source, target)))}


def cdan(model, source, target):
    logits = run(model.head, source), run(model.head, target)
    products = [
        (f[:, :, None] * oracles.softmax(z)[:, None]).reshape(len(f), -1) for f, z in zip((source, target), logits)
    ]
    told = run(model.discriminator, *products)
    return {"domain": (1.0, oracles.conditional_domain(*told, *logits))}


def wdgrl(model, source, target):
    """The slope of a critic of one layer is its kernel."""
    said = [told.mean() for told in run(model.critic, source, target)]
    penalty = (10.0, (np.linalg.norm(weights(model.critic)[0]) - 1.0) ** 2)
    return {"closeness": (1.0, said[1] - said[0]), "penalty": penalty}


def adda(model, x, y, loss):
    source, target = run(model.source_encoder, x["source"]), run(model.encoder, x["target"])
    told = run(model.discriminator, source, target)
    return {"domain": (1.0, oracles.domain(*told)), "fool": (1.0, np.logaddexp(0.0, told[1]).mean())}


def mcd(model, x, y, loss):
    source, target = run(model.encoder, x["source"], x["target"])
    p, q = (oracles.softmax(run(head, target)) for head in (model.head, model.second_head))
    tasks = {name: (1.0, loss.value(real(y), run(head, source))) for name, head in
             (("task", model.head), ("second_task", model.second_head))}  # fmt: skip
    return {**tasks, "agreement": (1.0, -np.abs(p - q).sum(axis=1).mean())}


def mdd(model, source, target):
    logits = [run(head, features) for features in (source, target) for head in (model.head, model.adversary)]
    return {"disparity": (1.0, oracles.disparity(*logits, 4.0))}


def jan(model, source, target):
    p = [oracles.softmax(logits) for logits in run(model.head, source, target)]
    return {"joint_mmd": (1.0, oracles.joint_mmd([source, p[0]], [target, p[1]]))}


def deep_jdot(model, x, y, loss):
    source, target = run(model.encoder, x["source"], x["target"])
    answers, labels = run(model.head, target), real(y)
    apart = ((source[:, None] - target[None]) ** 2).sum(axis=-1)
    wrong = [[loss.value(label[None], answer[None]) for answer in answers] for label in labels]
    cost = 0.01 * apart + np.array(wrong)
    return {
        "task": (1.0, loss.value(labels, run(model.head, source))),
        "transport": (1.0, oracles.transport(cost, 0.05)),
    }


def target_terms(model, source, target):
    logits = run(model.head, target)
    return {"mcc": (0.5, oracles.mcc(logits)), "information": (0.2, oracles.negative_information(logits))}


def make_target_terms(outputs):
    terms = {"mcc": (kt.losses.MCC(), 0.5), "information": (kt.losses.negative_information, 0.2)}
    return m.TargetTerms(encoder(), head(outputs), terms)


def predictions(model, x):
    """What the student predicts of each stream."""
    return {name: run(chain(model.encoder, model.head), rows) for name, rows in x.items()}


def adamatch(model, x, y, loss):
    found = predictions(model, x)
    consistency = oracles.adamatch(*(found[name] for name in ("source", "target_weak", "target_strong")), 0.9)
    return {"task": (1.0, loss.value(real(y), found["source"])), "consistency": (1.0, consistency)}


def self_ensembling(model, x, y, loss):
    found, taught = predictions(model, x), run(chain(*model.served), x["target_weak"])
    p, q = (oracles.softmax(logits) for logits in (found["target_strong"], taught))
    consistency = ((q.max(axis=-1) > 0.5) * ((p - q) ** 2).sum(axis=-1)).mean()
    return {"task": (1.0, loss.value(real(y), found["source"])), "consistency": (1.0, consistency)}


def shot(model, x, y, loss):
    features, logits = run(model.encoder, x["target"]), run(chain(model.encoder, model.head), x["target"])
    unit, p = oracles.unit(features), oracles.softmax(logits)
    labels = (unit @ oracles.unit(p.T @ unit).T).argmax(axis=-1)  # the means begin at zero
    pseudo = (0.3, oracles.sparse(labels, logits))
    return {"information": (1.0, oracles.negative_information(logits)), "pseudo": pseudo}


def l2sp(model, x, y, loss):
    start = sum(((w - anchor) ** 2).sum() for w, anchor in zip(weights(model.encoder)[::2], START[id(model)]))
    pull = {"start": (0.1, start / 2), "head": (0.01, (weights(model.head)[0] ** 2).sum() / 2)}
    return {"task": (1.0, loss.value(real(y), run(chain(model.encoder, model.head), x))), **pull}


START = {}  # kernels of the encoders of L2SP at construction


def make_l2sp(outputs):
    pretrained = encoder()
    model = m.L2SP(pretrained, network(DIM, outputs))
    START[id(model)] = [weights(pretrained)[0]]
    pretrained.layers[0].kernel.assign_add(np.full((FEATURES, DIM), 0.1))  # it has moved since
    return model


def bilinear(model, x, y, loss):
    vectors = np.concatenate([np.asarray(rows) for rows in model.descriptions.values()]).astype("float64")[:CLASSES]
    z = run(chain(model.encoder, model.projector), x)
    z, vectors = (oracles.unit(part) if model.cosine else part for part in (z, vectors))
    return {"task": (1.0, loss.value(real(y), z @ vectors.T))}


def dual_encoder(model, x, y, loss):
    z, said = (
        oracles.unit(run(*given)) for given in ((model.encoder, x["image"]), (model.describer, x["description"]))
    )
    scores, places = z @ said.T / 0.07, np.arange(len(z))
    return {"contrast": (1.0, np.mean([oracles.sparse(places, part) for part in (scores, scores.T)]))}


def few_labels(consistency, name="consistency", weight=1.0):
    def terms(model, x, y, loss):
        found = predictions(model, x)
        task = loss.value(real(y), found.pop("labelled"))
        return {"task": (1.0, task), name: (weight, consistency(model, x, *map(oracles.softmax, found.values())))}

    return terms


def pseudo_label(model, x, p):
    return np.mean((p.max(-1) > 0.5) * -np.log(p.max(-1)))


def squared_difference(model, x, weak, strong):
    return ((weak - strong) ** 2).sum(-1).mean()


def by_teacher(model, x, weak, strong):
    return squared_difference(model, x, oracles.softmax(run(chain(*model.served), x["unlabelled_weak"])), strong)


def fixmatch(model, x, weak, strong):
    told = strong[np.arange(len(weak)), weak.argmax(-1)]
    return np.mean((weak.max(-1) >= 0.5) * -np.log(told))


def setfit(model, x, y, loss):
    z = run(chain(model.encoder), x["text"])
    return {"contrast": (1.0, oracles.contrast_of_classes(z, y, 0.1))}


def label_descriptions(model, x, y, loss):
    z, rows = run(chain(model.encoder), x), np.concatenate([np.asarray(r) for r in model.descriptions.values()])
    described = oracles.unit(run(chain(model.encoder), rows.astype("float32"))).reshape(CLASSES, 2, -1).mean(1)
    return {"task": (1.0, loss.value(real(y), oracles.unit(z) @ oracles.unit(described).T / 0.05))}


def distillation(model, x, y, loss):
    student, teacher = run(chain(model.encoder, model.head), x), run(model.teacher, x)
    if student.shape[-1] == 1:  # of two classes
        student, teacher = (np.concatenate([np.zeros_like(z), z], axis=-1) for z in (student, teacher))
        prediction = student[:, 1:]
    else:
        prediction = student
    return {
        "task": (1.0, loss.value(real(y), prediction)),
        "distillation": (1.0, oracles.distillation(teacher, student, 2.0)),
    }


def of_labels(model, x, y, loss):
    """The loss of plain batches."""
    return {"task": (1.0, loss.value(real(y), run(chain(model.encoder, model.head), x)))}


def anchored(model, x, y, loss):
    kept = model.information if hasattr(model, "information") else model.importance
    triples = zip(*([real(v) for v in part] for part in (model.protected(), kept, model.anchors)))
    pull = sum((strength * (w - anchor) ** 2).sum() for w, strength, anchor in triples) / 2
    return {**of_labels(model, x, y, loss), "anchor": (2.0, pull)}


def lwf(model, x, y, loss):
    known = real(model.seen) > 0
    sides = [run(chain(*pair), x)[:, known] for pair in (
        (model.former_encoder, model.former_head), (model.encoder, model.head))]  # fmt: skip
    return {**of_labels(model, x, y, loss), "distillation": (1.0, oracles.distillation(*sides, 2.0))}


def rehearsed(model, x, y, loss):
    """The losses of the present rows and of those of the buffer."""
    now, then = run(chain(model.encoder, model.head), x["current"], x["memory"]["x"])
    return (1.0, loss.value(real(y), now)), (1.0, loss.value(real(x["memory"]["y"]), then))


def derpp(model, x, y, loss):
    task, replay = rehearsed(model, x, y, loss)
    apart = (run(chain(model.encoder, model.head), x["memory"]["x"]) - real(x["memory"]["logits"])) ** 2
    return {"task": task, "replay": (0.5, replay[1]), "logits": (0.5, np.where(np.isnan(apart), 0, apart).mean())}


def icarl(model, x, y, loss):
    rows = [x["current"], x["memory"]["x"]]
    labels = np.concatenate([real(part).reshape(-1) for part in (y, x["memory"]["y"])]).astype(int)
    logits = np.concatenate(run(chain(model.encoder, model.head), *rows))
    former = 1 / (1 + np.exp(-np.concatenate(run(chain(model.former_encoder, model.former_head), *rows))))
    known = real(model.seen) > 0
    crossentropy = [np.logaddexp(0, logits) - target * logits for target in (np.eye(CLASSES)[labels], former)]
    parts = crossentropy[0][:, ~known], crossentropy[1][:, known]
    return dict(zip(("classification", "distillation"), ((1.0, part.sum(axis=1).mean()) for part in parts)))


def of_views(terms):
    def of_projections(model, x, y, loss):
        projections = run(chain(model.encoder, model.projector), x["view_1"], x["view_2"])
        return terms(model, *projections, *(() if y is None else (real(y),)))

    return of_projections


def byol(model, x, y, loss):
    student = chain(model.encoder, model.projector, model.predictor)
    (p_1, p_2), (t_1, t_2) = (
        run(part, x["view_1"], x["view_2"]) for part in (student, chain(model.teacher_encoder, model.teacher_projector))
    )
    return {"regression": (1.0, 4.0 - 2.0 * oracles.cosine(p_1, t_2) - 2.0 * oracles.cosine(p_2, t_1))}


def simsiam(model, z_1, z_2):
    p_1, p_2 = run(model.predictor, z_1, z_2)
    return {"similarity": (1.0, -(oracles.cosine(p_1, z_2) + oracles.cosine(p_2, z_1)) / 2.0)}


def barlow(model, z_1, z_2):
    return dict(zip(("invariance", "redundancy"), zip((1.0, 5e-3), oracles.barlow_twins(z_1, z_2))))


def vicreg(model, z_1, z_2):
    return dict(zip(("invariance", "variance", "covariance"), zip((25.0, 25.0, 1.0), oracles.vicreg(z_1, z_2))))


def drawn(model, x, name):
    """What the next step is going to draw: the generator is put back."""
    seed = model.seed_generator.state.numpy()
    found = keras.ops.convert_to_numpy(model.forward(x, training=True)[name])
    model.seed_generator.state.assign(seed)
    return found


def mae(model, x, y, loss):
    hidden = drawn(model, x, "hidden")
    tokens = run(model.encoder.get_layer("patches"), x["image"])
    assert (hidden.sum(axis=1) == round(0.75 * tokens.shape[1])).all()
    encoded = run(model.encoder.get_layer("blocks"), np.stack([row[~gone] for row, gone in zip(tokens, hidden)]))
    full = np.broadcast_to(model.mask_token.numpy(), tokens.shape).astype("float64").copy()
    full[~hidden] = encoded.reshape(-1, encoded.shape[-1])
    pixels = oracles.patches(real(x["image"]) / 255.0, 2)
    pixels = (pixels - pixels.mean(axis=-1, keepdims=True)) / np.sqrt(pixels.var(axis=-1, keepdims=True) + 1e-6)
    return {"reconstruction": (1.0, np.mean((run(model.decoder, full) - pixels)[hidden] ** 2))}


def inpainting(model, x, y, loss):
    hole, pixels = drawn(model, x, "hole").astype(bool), real(x["image"])
    assert (hole.sum(axis=(1, 2, 3)) == 16).all()  # a quarter of 8 x 8
    seen = np.where(hole, pixels.mean(axis=(1, 2), keepdims=True), pixels)
    errors = (run(chain(model.encoder, model.decoder), seen) - pixels / 255.0) ** 2
    return {"reconstruction": (1.0, errors[hole].mean())}


def of_episodes(solve, term="task"):
    def terms(model, x, y, loss):
        (support, labels), query = x["support"], x["query"]
        each = [solve(model, *map(real, episode), loss) for episode in zip(support, labels, query, y)]
        return {term: (1.0, np.mean(each))}

    return terms


def few_shots(logits):
    def solve(model, support, labels, query, answers, loss):
        return loss.value(answers, logits(*run_pair(model.encoder, support, labels, query)))

    return solve


def run_pair(part, support, labels, query):
    return run(part, support), labels, run(part, query)


def maml(model, support, labels, query, answers, loss):
    adapted = oracles.adapted(weights(model.network), support, labels, loss.slope, 2, 0.4)
    return loss.value(answers, oracles.dense(adapted, query)[0])


def anil(model, support, labels, query, answers, loss):
    support, _, query = run_pair(model.encoder, support, labels, query)
    adapted = oracles.adapted(weights(model.head), support, labels, loss.slope, 5, 0.1)
    return loss.value(answers, oracles.dense(adapted, query)[0])


def reptile(model, support, labels, query, answers, loss):
    start = weights(model.network)
    end = oracles.adam(start, support, labels, loss.slope, 5, 1e-3, 3)
    return sum(((a - b) ** 2).sum() for a, b in zip(start, end)) / 2.0


# The table of all methods.


class Method(NamedTuple):
    make: Any  # number of outputs -> model
    draw: Any  # name of a loss -> strategy of a Batch
    terms: Any  # (model, x, y, loss) -> {term: (weight, value)}
    losses: tuple = ("sparse", "sparse", "categorical", "squared", "several", "function")


def head(outputs):
    return network(DIM, outputs)


def classifier(outputs):
    return keras.Sequential([encoder(), head(outputs)])


ADAPTED = ("sparse", "sparse", "squared", "several", "function")
METHODS = {
    "DANN": Method(lambda n: m.DANN(encoder(), head(n), head(1)), domains, of_domains(dann)),
    "DeepCORAL": Method(
        lambda n: m.DeepCORAL(encoder(), head(n), coral_weight=100.0),
        lambda loss: domains(loss, 2),
        of_domains(lambda model, *features: {"coral": (100.0, oracles.coral(*features))}),
    ),
    "DAN": Method(
        lambda n: m.DAN(encoder(), head(n)),
        lambda loss: domains(loss, 2),
        of_domains(lambda model, *features: {"mmd": (1.0, oracles.mmd(*features))}),
    ),
    "CDAN": Method(
        lambda n: m.CDAN(encoder(), head(n), network(DIM * n, 1)),
        domains,
        of_domains(cdan),
        ("sparse", "sparse", "categorical", "several"),
    ),
    "WDGRL": Method(lambda n: m.WDGRL(encoder(), head(n), head(1)), domains, of_domains(wdgrl)),
    "ADDA": Method(lambda n: m.ADDA(encoder(), encoder(), head(CLASSES), head(1)), unlabelled_domains, adda, (None,)),
    "MCD": Method(lambda n: m.MCD(encoder(), head(n), head(n)), domains, mcd, ("sparse", "categorical")),
    "MDD": Method(lambda n: m.MDD(encoder(), head(n), head(n)), domains, of_domains(mdd), ("sparse", "categorical")),
    "JAN": Method(
        lambda n: m.JAN(encoder(), head(n)),
        lambda loss: domains(loss, 2),
        of_domains(jan),
        ("sparse", "sparse", "categorical", "several"),
    ),
    "DeepJDOT": Method(lambda n: m.DeepJDOT(encoder(), head(n)), domains, deep_jdot),
    "TargetTerms": Method(
        make_target_terms,
        lambda loss: domains(loss, target_least=2),
        of_domains(target_terms),
        ("sparse", "categorical"),
    ),
    "AdaMatch": Method(lambda n: m.AdaMatch(encoder(), head(n)), domain_views, adamatch, ("sparse", "categorical")),
    "SelfEnsembling": Method(
        lambda n: m.SelfEnsembling(encoder(), head(n), threshold=0.5),
        domain_views,
        self_ensembling,
        ("sparse", "categorical"),
    ),
    "SHOT": Method(lambda n: m.SHOT(encoder(), head(CLASSES)), target_alone, shot, (None,)),
    "L2SP": Method(make_l2sp, plain, l2sp),
    "Distillation": Method(lambda n: m.Distillation(encoder(), head(n), classifier(n)), plain, distillation),
    **{
        name: Method(lambda n, name=name: remembering(getattr(m, name)(encoder(), head(n), 2.0)), plain, anchored)
        for name in ("EWC", "SynapticIntelligence", "MAS")
    },
    "LwF": Method(lambda n: remembering(m.LwF(encoder(), head(n))), plain, lwf, ("sparse", "categorical", "several")),
    "ExperienceReplay": Method(
        lambda n: m.ExperienceReplay(encoder(), head(n), contract.buffer(classes=n)),
        rehearsal,
        lambda *given: dict(zip(("task", "replay"), rehearsed(*given))),
        ("sparse",),
    ),
    "AGEM": Method(
        lambda n: m.AGEM(encoder(), head(n), contract.buffer(classes=n)),
        rehearsal,
        lambda *given: dict(zip(("task", "memory"), rehearsed(*given))),
        ("sparse",),
    ),
    "DERpp": Method(
        lambda n: m.DERpp(encoder(), head(n), contract.buffer(classes=n)),
        lambda loss: rehearsal(loss, logits=True),
        derpp,
        ("sparse",),
    ),
    "ICaRL": Method(
        lambda n: remembering(m.ICaRL(encoder(), head(n), contract.buffer(classes=n))), rehearsal, icarl, ("sparse",)
    ),
    "GDumb": Method(lambda n: m.GDumb(encoder(), head(n), contract.buffer(classes=n)), plain, of_labels),
    "PrototypicalNetwork": Method(
        lambda n: m.PrototypicalNetwork(keras.Sequential([encoder(), free_projector()])),
        lambda loss: episodes(loss, by_rows=True),
        of_episodes(few_shots(oracles.prototypes)),
        ("sparse",),
    ),
    "MatchingNetwork": Method(
        lambda n: m.MatchingNetwork(keras.Sequential([encoder(), projector()]), cosine=True),
        lambda loss: episodes(loss, by_rows=True),
        of_episodes(few_shots(oracles.matching)),
        ("sparse",),
    ),
    "MAML": Method(lambda n: m.MAML(classifier(n), steps=2, learn_rates=True), episodes, of_episodes(maml), ADAPTED),
    "ANIL": Method(lambda n: m.ANIL(encoder(), head(n)), episodes, of_episodes(anil), ADAPTED),
    "Reptile": Method(  # Adam's steps depend on the sign of gradients: float32 has none of a tanh that is 1
        lambda n: m.Reptile(classifier(n), batch_size=3),
        lambda loss: episodes(loss, scales=(0.3, 1e-3)),
        of_episodes(reptile, "distance"),
        ADAPTED,
    ),
    "SimCLR": Method(
        lambda n: m.SimCLR(encoder(), projector()),
        lambda loss: views(loss, 2),
        of_views(lambda model, *z: {"contrast": (1.0, oracles.contrastive(*z, 0.2))}),
        (None,),
    ),
    "SupCon": Method(
        lambda n: m.SupCon(encoder(), projector()),
        lambda loss: views(loss, 2, labelled=True),
        of_views(lambda model, a, b, y: {"contrast": (1.0, oracles.contrastive(a, b, 0.1, y))}),
        (None,),
    ),
    "BYOL": Method(lambda n: m.BYOL(*contract.stages(), momentum=0.9), views, byol, (None,)),
    "SimSiam": Method(lambda n: m.SimSiam(*contract.stages()), views, of_views(simsiam), (None,)),
    "BarlowTwins": Method(
        lambda n: m.BarlowTwins(encoder(), free_projector()), lambda loss: views(loss, 2), of_views(barlow), (None,)
    ),
    "VICReg": Method(
        lambda n: m.VICReg(encoder(), free_projector()), lambda loss: views(loss, 2), of_views(vicreg), (None,)
    ),
    "SimCSE": Method(
        lambda n: m.SimCSE(encoder(), projector()),
        views,
        of_views(lambda model, a, b: {"contrast": (1.0, oracles.in_batch(a, b, 0.05))}),
        (None,),
    ),
    "SetFit": Method(lambda n: m.SetFit(encoder(), 4), texts, setfit, (None,)),
    "LabelDescriptions": Method(lambda n: contract.described(encoder()), plain, label_descriptions, ("sparse",)),
    **{
        name: Method(
            lambda n, name=name: contract.attributed(getattr(m, name), encoder()), plain, bilinear, ("sparse",)
        )
        for name in ("BilinearCompatibility", "ESZSL", "SAE")
    },
    "DualEncoder": Method(lambda n: m.DualEncoder(encoder(), encoder()), pairs, dual_encoder, (None,)),
    "PseudoLabel": Method(
        lambda n: m.PseudoLabel(encoder(), head(n), threshold=0.5),
        lambda loss: few_and_many(loss, ("",)),
        few_labels(pseudo_label, "pseudo_label"),
        ("sparse", "categorical"),
    ),
    "PiModel": Method(
        lambda n: m.PiModel(encoder(), head(n)),
        few_and_many,
        few_labels(squared_difference, weight=10.0),
        ("sparse", "categorical"),
    ),
    "MeanTeacher": Method(
        lambda n: m.MeanTeacher(encoder(), head(n)),
        few_and_many,
        few_labels(by_teacher, weight=10.0),
        ("sparse", "categorical"),
    ),
    "FixMatch": Method(
        lambda n: m.FixMatch(encoder(), head(n), sure_enough=0.5),
        few_and_many,
        few_labels(fixmatch),
        ("sparse", "categorical"),
    ),
    "MAE": Method(lambda n: m.MAE(*contract.vit()), images, mae, (None,)),
    "Inpainting": Method(lambda n: m.Inpainting(*contract.image_networks()), images, inpainting, (None,)),
}
MODELS = {}


def ready(key, make, loss):
    """A compiled model with the weights that it was made with, made once for each key."""
    if key not in MODELS:
        keras.utils.set_random_seed(0)
        model = make()
        model.compile(keras.optimizers.SGD(0.01), loss, run_eagerly=True)
        MODELS[key] = model, [variable.numpy() for variable in model.variables]
    model, start = MODELS[key]
    for variable, value in zip(model.variables, start):
        variable.assign(value)
    model.reset_metrics()
    return model


def decay(model):
    """The regularisers of the networks, each kernel once."""
    kernels = [v for v in model.trainable_variables if getattr(v, "regularizer", None) is not None]
    return 0.01 * sum((real(v.numpy()) ** 2).sum() for v in kernels)


def step(model, batch, terms, train=None):
    """Trains one step and compares, or looks at the error."""
    before = int(model.step.numpy())
    if batch.wrong is None:
        expected, expected_decay = terms(), decay(model)
    try:
        logs = model.train_on_batch(batch.x, batch.y, return_dict=True) if train is None else train()
    except ValueError as error:
        assert batch.wrong is not None, f"Nothing is wrong with the batch; received: {error}"
        assert re.search(batch.wrong, str(error), re.DOTALL), f"Expected an error of {batch.wrong}; received: {error}"
        assert int(model.step.numpy()) == before
        return
    assert batch.wrong is None, f"Expected an error of {batch.wrong}; received {logs}"
    for name, (_, value) in expected.items():
        np.testing.assert_allclose(logs[f"{name}_term"], value, rtol=2e-4, atol=2e-5, err_msg=name)
    total = sum(weight * value for weight, value in expected.values()) + expected_decay
    np.testing.assert_allclose(logs["loss"], total, rtol=2e-4, atol=2e-4)


def test_every_public_method_is_drawn():
    rest = {*contract.ARCHITECTURES, *contract.OF_TOKENS}  # of tasks below, and of tokens in tests of their own
    rest |= {"MixMatch"}  # which mixes at random, in tests of its own
    assert set(METHODS) | rest == set(contract.METHODS)


@pytest.mark.parametrize("name", METHODS)
@SEEDED
@hypothesis.given(data=st.data())
def test_a_step_gives_the_loss_of_numpy_or_says_what_is_wrong(name, data):
    method = METHODS[name]
    loss = data.draw(st.sampled_from(method.losses))
    batch = data.draw(method.draw(loss))
    outputs = 1 if loss is None else LOSSES[loss].outputs
    model = ready((name, loss), lambda: method.make(outputs), LOSSES[loss].make() if loss else None)
    step(model, batch, lambda: method.terms(model, batch.x, batch.y, LOSSES.get(loss)))


# Several tasks: each with its own loss, and its own way of saying that a label is missing.

TASKS = {
    "sparse": (lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True), oracles.sparse),
    "squared": (lambda: "mse", oracles.squared),
}
MISSING = {
    "none": None,
    "-1": -1,
    "nan": float("nan"),
    "by task": {"whole": -1, "half": float("nan")},
    "one": {"half": -1},
}
GAPS = ("none", "rows", "rows", "entries", "everything")


@st.composite
def task_labels(draw, loss, rows, missing):
    """Labels of a task, some of which are missing, and what an error has to name where they are wrong."""
    shape = (rows,) if loss == "sparse" else (rows, CLASSES)
    if loss == "sparse":
        y = draw(labels_of(shape, CLASSES))
    elif draw(st.integers(0, 3)):
        y = draw(cells(shape, draw(st.sampled_from(LABELS))))
    else:
        y = draw(labels_of(shape, CLASSES))
    gap = draw(st.sampled_from(GAPS))
    value = draw(st.sampled_from((missing, missing, missing, -1, np.nan)))
    if gap != "none" and value is not None and y.dtype.kind in "if":
        y = y.astype("float32") if np.isnan(value) else y.copy()
        where = np.random.default_rng(draw(st.integers(0, 99))).random(y.shape if gap == "entries" else len(y)) < 0.5
        y[where if gap != "everything" else ...] = value
    if y.dtype.kind not in "biuf":
        return y, "[Ll]abels"
    numbers = y.astype("float64")
    here = np.full(y.shape, True) if missing is None else ~np.isnan(y) if np.isnan(missing) else numbers != missing
    known = numbers[here]
    right = np.isfinite(known).all() and y.shape in (shape, (*shape, 1))
    if loss == "sparse":
        right = right and ((known == np.floor(known)) & (known >= 0) & (known < CLASSES)).all()
    return y, None if right else "[Ll]abels"


@pytest.mark.parametrize("name", contract.ARCHITECTURES)
@SEEDED
@hypothesis.given(data=st.data())
def test_a_step_of_several_tasks_gives_the_loss_of_numpy_or_says_what_is_wrong(name, data):
    losses = {task: data.draw(st.sampled_from(list(TASKS))) for task in contract.heads()}
    missing = data.draw(st.sampled_from(list(MISSING)))
    each = MISSING[missing] if isinstance(MISSING[missing], dict) else dict.fromkeys(losses, MISSING[missing])
    rows = data.draw(sizes)
    x, bad = data.draw(inputs(rows))
    drawn = {task: data.draw(task_labels(loss, rows, each.get(task))) for task, loss in losses.items()}
    y = {task: labels for task, (labels, _) in drawn.items()}

    def make():
        model = contract.ARCHITECTURES[name](missing=MISSING[missing])
        model(np.zeros((1, FEATURES), "float32"))
        return model

    def terms():
        predictions = model(np.asarray(x, "float32"))
        found = {}
        for task, loss in losses.items():
            prediction = real(keras.ops.convert_to_numpy(predictions[task]))
            found[task] = (1.0, oracles.known(TASKS[loss][1], y[task], prediction, each.get(task)))
        if name == "SoftSharing":
            found["pull"] = (0.1, oracles.spread([weights(tower) for tower in model.towers.values()]))
        return found

    compiled = {task: TASKS[loss][0]() for task, loss in losses.items()}
    model = ready((name, missing), make, compiled)
    model.compile(keras.optimizers.SGD(0.01), compiled, run_eagerly=True)
    step(model, Batch(x, y, joined(bad, *(wrong for _, wrong in drawn.values()))), terms)


# The streams, whose batches here are all rows, in whatever order.


def fitted(model, stream):
    """A function that trains on what a stream yields in one epoch and returns the logs."""

    def train():
        return {name: values[0] for name, values in model.fit(stream(), epochs=1, verbose=0).history.items()}

    return train


def one_type(first, second):
    """The second array in the dtype of the first, which a stream asks for."""
    strings = "O" in (first.dtype.kind, second.dtype.kind)
    return second if strings else second.astype("float32").clip(0, 100).astype(first.dtype)


@SEEDED
@hypothesis.given(data=st.data())
def test_the_stream_of_domains(data):
    loss = data.draw(st.sampled_from(("sparse", "squared")))
    batch = data.draw(domains(loss, 2))
    source, target = batch.x["source"], one_type(*batch.x.values())
    model = ready(("DAN", loss), lambda: METHODS["DAN"].make(LOSSES[loss].outputs), LOSSES[loss].make())

    def stream():
        return kt.streams.domains(
            (source, batch.y), target, len(source), len(target), seed=data.draw(sizes), check_range=False
        )

    x = {"source": source, "target": target}
    wrong = None if batch.wrong is None else f"{batch.wrong}|source"
    expected = METHODS["DAN"].terms
    step(model, Batch(x, batch.y, wrong), lambda: expected(model, x, batch.y, LOSSES[loss]), fitted(model, stream))


@SEEDED
@hypothesis.given(data=st.data())
def test_the_stream_of_views(data):
    rows = data.draw(st.integers(2, 8))
    images, bad = data.draw(inputs(rows, name="images|[Ii]nput"))
    y = data.draw(labels_of((rows,), 4))
    bad_y = None if y.dtype.kind in "iu" and y.shape == (rows,) else "labels"
    model = ready(("SupCon", None), lambda: METHODS["SupCon"].make(1), None)

    def stream():
        return kt.streams.views(images, lambda both: both, rows, labels=y, seed=data.draw(sizes))

    x = {"view_1": images, "view_2": images}
    batch = Batch(x, y, joined(bad, bad_y))
    step(model, batch, lambda: METHODS["SupCon"].terms(model, x, y, None), fitted(model, stream))


@SEEDED
@hypothesis.given(data=st.data())
def test_the_stream_of_episodes(data):
    rows, ways, shots, queries, number = (
        data.draw(st.integers(*span)) for span in ((4, 12), (2, 3), (1, 2), (1, 2), (1, 2))
    )
    x, bad = data.draw(inputs(rows, name="`x`|[Ii]nput"))
    y = data.draw(labels_of((rows,), 3))
    bad_y = None if y.dtype.kind in "iu" and y.shape == (rows,) else "labels"
    if bad_y is None:
        counts = np.unique(y, return_counts=True)[1]
        bad_y = "classes|rows of each class" if len(counts) < ways or counts.min() < shots + queries else None
    model = ready(
        ("PrototypicalNetwork", "sparse"), lambda: METHODS["PrototypicalNetwork"].make(1), LOSSES["sparse"].make()
    )

    def stream():
        return kt.streams.episodes(x, y, ways, shots, queries, number, batches=1, seed=7)

    def terms():
        episodes, answers = next(stream().as_numpy_iterator())
        assert set(np.unique(answers)) == set(range(ways))
        return METHODS["PrototypicalNetwork"].terms(model, episodes, answers, LOSSES["sparse"])

    step(model, Batch(x, y, joined(bad, bad_y)), terms, fitted(model, stream))
