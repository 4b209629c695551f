"""The losses of all methods in NumPy, float64, written from their papers' formulas and not from the package."""

import numpy as np


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits):
    return np.exp(log_softmax(logits))


def unit(rows):
    return rows / np.maximum(np.sqrt((rows**2).sum(axis=-1, keepdims=True)), 1e-12)


# Losses that users compile with: means over all labels.


def sparse(labels, logits):
    places = np.asarray(labels).reshape(logits.shape[:-1]).astype(int)
    return -np.mean(np.take_along_axis(log_softmax(logits), places[..., None], axis=-1))


def categorical(labels, logits):
    return -np.mean((labels * log_softmax(logits)).sum(axis=-1))


def squared(labels, prediction):
    return np.mean((labels.reshape(prediction.shape) - prediction) ** 2)


def sparse_slope(labels, logits):
    """The gradient of `sparse` by the logits."""
    places = np.asarray(labels).reshape(-1).astype(int)
    return (np.exp(log_softmax(logits)) - np.eye(logits.shape[-1])[places]) / len(logits)


def squared_slope(labels, prediction):
    """The gradient of `squared` by the prediction."""
    return 2.0 * (prediction - labels.reshape(prediction.shape)) / prediction.size


# Domain adaptation.


def domain(source, target):
    """Half of the mean binary cross-entropy of each domain, from logits; the source is 0."""
    return 0.5 * (np.logaddexp(0.0, source).mean() + np.logaddexp(0.0, -target).mean())


def conditional_domain(source, target, source_logits, target_logits):
    """The same where sure predictions count more."""
    parts = []
    for told, logits, sign in ((source, source_logits, 1.0), (target, target_logits, -1.0)):
        weight = 1.0 + np.exp(-entropy(softmax(logits)))
        parts.append((weight / weight.mean() * np.logaddexp(0.0, sign * told[:, 0])).mean())
    return 0.5 * sum(parts)


def disparity(said, against, target_said, target_against, margin):
    """MDD's, from logits of head and adversary."""
    agrees = sparse(said.argmax(axis=1), against)
    q = softmax(target_against)
    others = [np.delete(row, label).sum() for row, label in zip(q, target_said.argmax(axis=1))]
    return margin * agrees - np.log(others).mean()


def mmd(source, target):
    return joint_mmd([source], [target])


def joint_mmd(source, target):
    kernel, n = 1.0, len(source[0])
    for one, other in zip(source, target):
        rows = np.concatenate([one, other])
        distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)
        pairs = distances[np.triu_indices(len(rows), 1)]
        width = max(np.median(pairs) if np.median(pairs) > 1e-5 * pairs.mean() else pairs.mean(), 1e-7)
        kernel *= np.mean([np.exp(-distances / (factor * width)) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)], axis=0)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2.0 * kernel[:n, n:].mean()


def transport(cost, regularization, steps=100):
    """What the plan of Sinkhorn's iterations costs, which scale rows and columns in turn."""
    kernel = np.exp(-cost / max(regularization * cost.mean(), 1e-12))
    rows, columns = len(cost), len(cost[0])
    second = np.ones(columns)
    for _ in range(steps):
        first = 1.0 / rows / (kernel @ second)
        second = 1.0 / columns / (kernel.T @ first)
    return (first[:, None] * kernel * second * cost).sum()


def coral(source, target):
    difference = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    return (difference**2).sum() / (4.0 * source.shape[1] ** 2)


# Fine-tuning.


def entropy(p):
    return -(p * np.log(np.maximum(p, 1e-300))).sum(axis=-1)


def mcc(logits, temperature=2.5):
    p = softmax(logits / temperature)
    weight = 1 + np.exp(-entropy(p))
    weight *= len(p) / weight.sum()
    confusion = sum(w * np.outer(row, row) for w, row in zip(weight, p))
    confusion = confusion / confusion.sum(axis=1, keepdims=True)
    return (confusion.sum() - np.trace(confusion)) / len(confusion)


def negative_information(logits):
    p = softmax(logits)
    return entropy(p).mean() - entropy(p.mean(axis=0))


def adamatch(source, weak, strong, threshold):
    """The consistency of AdaMatch, from logits."""
    source, weak = softmax(source), softmax(weak)
    aligned = weak * source.mean(axis=0) / np.maximum(weak.mean(axis=0), 1e-6)
    aligned /= aligned.sum(axis=1, keepdims=True)
    sure = aligned.max(axis=1) >= threshold * source.max(axis=1).mean()
    return (sure * -log_softmax(strong)[np.arange(len(sure)), aligned.argmax(axis=1)]).mean()


def distillation(teacher, student, temperature):
    teacher, student = log_softmax(teacher / temperature), log_softmax(student / temperature)
    return temperature**2 * np.mean((np.exp(teacher) * (teacher - student)).sum(axis=-1))


# Self-supervision.


def contrastive(view_1, view_2, temperature, labels=None):
    """NT-Xent, or with labels the supervised loss: row by row, and its positives one by one."""
    rows, n = unit(np.concatenate([view_1, view_2])), len(view_1)
    similar = rows @ rows.T / temperature
    losses = []
    for i in range(2 * n):
        others = [j for j in range(2 * n) if j != i]
        mates = [j for j in others if (j % n == i % n if labels is None else labels[j % n] == labels[i % n])]
        losses.append(np.log(np.exp(similar[i, others]).sum()) - similar[i, mates].mean())
    return np.mean(losses)


def in_batch(view_1, view_2, temperature):
    """InfoNCE of the first view: each row finds its own among the rows of the second."""
    similar = unit(view_1) @ unit(view_2).T / temperature
    return np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(similar)])


def contrast_of_classes(rows, labels, temperature):
    """The supervised contrastive loss of single rows; one without a mate counts 0."""
    similar, losses = unit(rows) @ unit(rows).T / temperature, []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        mates = [j for j in others if labels[j] == labels[i]]
        loss = np.log(np.exp(similar[i, others]).sum()) - similar[i, mates].mean() if mates else 0.0
        losses.append(loss)
    return np.mean(losses)


def cosine(first, second):
    return (unit(first) * unit(second)).sum(axis=-1).mean()


def barlow_twins(view_1, view_2):
    first, second = ((v - v.mean(axis=0)) / np.sqrt(v.var(axis=0) + 1e-5) for v in (view_1, view_2))
    correlation = first.T @ second / len(first)
    diagonal = np.diag(correlation)
    return ((1.0 - diagonal) ** 2).sum(), ((correlation - np.diag(diagonal)) ** 2).sum()


def vicreg(view_1, view_2):
    def moments(view):
        covariance = np.cov(view, rowvar=False)
        spread = np.maximum(0.0, 1.0 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
        return spread, ((covariance - np.diag(np.diag(covariance))) ** 2).sum() / view.shape[1]

    (spread_1, mixed_1), (spread_2, mixed_2) = moments(view_1), moments(view_2)
    return ((view_1 - view_2) ** 2).mean(), (spread_1 + spread_2) / 2.0, mixed_1 + mixed_2


def patches(images, size):
    """Square patches row by row, `(batch, number, size * size * channels)`."""
    rows, columns = images.shape[1] // size, images.shape[2] // size
    return np.stack(
        [
            images[:, size * i : size * (i + 1), size * j : size * (j + 1)].reshape(len(images), -1)
            for i in range(rows)
            for j in range(columns)
        ],
        axis=1,
    )


# Few shots. Networks are lists of weights of Dense layers, of which all but the last end in tanh.


def dense(weights, x):
    """Returns the output and what each layer read."""
    read = []
    for place in range(0, len(weights), 2):
        read.append(x)
        x = x @ weights[place] + weights[place + 1]
        x = np.tanh(x) if place + 2 < len(weights) else x
    return x, read


def dense_gradient(weights, x, labels, slope):
    """The gradient of a loss by the weights, by the chain rule from the last layer to the first."""
    output, read = dense(weights, x)
    above, gradients = slope(labels, output), []
    for place in range(len(weights) - 2, -1, -2):
        gradients = [read[place // 2].T @ above, above.sum(axis=0), *gradients]
        above = (above @ weights[place].T) * (1.0 - read[place // 2] ** 2)
    return gradients


def adapted(weights, x, labels, slope, steps, rate):
    for _ in range(steps):
        gradients = dense_gradient(weights, x, labels, slope)
        weights = [w - rate * g for w, g in zip(weights, gradients)]
    return weights


def adam(weights, x, labels, slope, steps, rate, size):
    """Adam without momentum on mini-batches that stride over the support, from moments of zero."""
    number = len(x) // min(size, len(x))
    used = number * min(size, len(x))
    moments = [np.zeros_like(w) for w in weights]
    for k in range(steps):
        rows = slice(k % number, used, number)
        gradients = dense_gradient(weights, x[rows], labels[rows], slope)
        moments = [0.999 * m + 0.001 * g**2 for m, g in zip(moments, gradients)]
        weights = [
            w - rate * g / (np.sqrt(m / (1.0 - 0.999 ** (k + 1))) + 1e-8)
            for w, m, g in zip(weights, moments, gradients)
        ]
    return weights


def prototypes(support, labels, query):
    """Minus the squared distance of each query to the mean of each class; -1e9 for classes that are not there."""
    logits = np.full((len(query), len(support)), -1e9)
    for label in np.unique(labels.astype(int)):
        logits[:, label] = -((query - support[labels == label].mean(axis=0)) ** 2).sum(axis=-1)
    return logits


def matching(support, labels, query):
    """The log of what each class gets of the attention by cosines, up to a constant."""
    similar = np.exp(unit(query) @ unit(support).T)
    logits = np.full((len(query), len(support)), -1e9)
    for label in np.unique(labels.astype(int)):
        logits[:, label] = np.log(similar[:, labels == label].sum(axis=1))
    return logits


# Several tasks.


def known(loss, labels, prediction, missing):
    """The mean of a loss over the labels, or entries of them, that are there; 0 where there are none."""
    here = np.full(labels.shape, True) if missing is None else labels != missing
    here = ~np.isnan(labels.astype("float64")) if missing is not None and np.isnan(missing) else here
    if not here.any():
        return 0.0
    if loss is sparse:
        here = here.reshape(len(labels))
        return sparse(labels[here], prediction[here])
    return np.mean((labels.astype("float64")[here] - prediction.reshape(labels.shape)[here]) ** 2)


def spread(towers):
    """The sum of the squared distances of the towers' weights from their mean."""
    return sum(((np.stack(weights) - np.mean(weights, axis=0)) ** 2).sum() for weights in zip(*towers))
