"""Forward passes of every click model in plain numpy loops and matrices, to the input of the
head."""

from collections.abc import Callable

import numpy as np

from core.models.registry import ARCHITECTURES

Weights = dict[str, np.ndarray]
Reference = Callable[[Weights, np.ndarray, np.ndarray, tuple[int, ...]], np.ndarray]

# Those of this repository's own making; the others have tests of their own.
CLICK_MODELS = [
    name for name, architecture in ARCHITECTURES.items() if not architecture.required_package
]

# Small settings; an architecture takes those it has. BatchNorm is on, so that its statistics are
# tested too.
SMALL = {
    "embedding": 4,
    "widths": [8, 6],
    "dropout": 0.3,
    "batch_norm": True,
    "crosses": 2,
    "layers": 2,
    "heads": 2,
    "attention": 6,
    "gate": 5,
    "width": 8,
    "hidden": 7,
    "members": 3,
}


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def linear(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def batch_norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def layer_norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return (
        centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5) * w[f"{name}.weight"]
        + w[f"{name}.bias"]
    )


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def embed(w: Weights, ids: np.ndarray, sizes: tuple[int, ...], table: str = "table") -> np.ndarray:
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.stack(
        [
            [w[f"stages.0.{table}.weight"][starts[f] + row[f]] for f in range(len(sizes))]
            for row in ids
        ]
    )


def deep_input(
    w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    return np.hstack([embed(w, ids, sizes).reshape(len(ids), -1), numerics])


def dense(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return relu(batch_norm(w, f"{name}.1", linear(w, f"{name}.0", x)))


def blocks(w: Weights, x: np.ndarray, stages: range) -> np.ndarray:
    for i in stages:
        x = dense(w, f"stages.{i}.layers", x)
    return x


def pairs(vectors: np.ndarray) -> np.ndarray:
    fields = vectors.shape[1]
    return np.sum(
        [vectors[:, i] * vectors[:, j] for i in range(fields) for j in range(i + 1, fields)], axis=0
    )


def lr(w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    return np.hstack([embed(w, ids, sizes).sum(axis=1), numerics])


def fm(w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    vectors = embed(w, ids, sizes)
    dots = [
        sum(
            vectors[r, i] @ vectors[r, j]
            for i in range(len(sizes))
            for j in range(i + 1, len(sizes))
        )
        for r in range(len(ids))
    ]
    return np.hstack(
        [np.array(dots)[:, None], embed(w, ids, sizes, "first_order").sum(axis=1), numerics]
    )


def dnn(w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    return blocks(w, deep_input(w, ids, numerics, sizes), range(1, 3))


def widedeep(
    w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    return np.hstack([embed(w, ids, sizes, "wide").sum(axis=1), dnn(w, ids, numerics, sizes)])


def deepfm(w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    first = embed(w, ids, sizes, "first_order").sum(axis=1)
    return np.hstack([pairs(embed(w, ids, sizes)), first, dnn(w, ids, numerics, sizes)])


def dcnv2(w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    x0 = x = deep_input(w, ids, numerics, sizes)
    for i in (1, 2):
        x = x0 * linear(w, f"stages.{i}.linear", x) + x
    return blocks(w, x, range(3, 5))


def attend(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int, scale: float
) -> np.ndarray:
    """Multi-head attention, one row and one head at a time."""
    out = np.zeros((*query.shape[:2], value.shape[2]))
    size = query.shape[2] // heads
    for row in range(len(query)):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            out[row, :, part] = (
                softmax(query[row, :, part] @ key[row, :, part].T * scale) @ value[row, :, part]
            )
    return out


def autoint(
    w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    tokens, deep = embed(w, ids, sizes), deep_input(w, ids, numerics, sizes)
    for i in (1, 2):
        name = f"stages.{i}.towers.0"
        query, key, value = (
            linear(w, f"{name}.{part}", tokens) for part in ("query", "key", "value")
        )
        mixed = attend(query, key, value, heads=2, scale=1)
        tokens = relu(mixed + linear(w, f"{name}.residual", tokens))
        deep = dense(w, f"stages.{i}.towers.1", deep)
    return np.hstack([tokens.reshape(len(ids), -1), deep])


def finalmlp(
    w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    x = deep_input(w, ids, numerics, sizes)
    streams = []
    for stream in (0, 1):
        gate = f"stages.1.gates.{stream}"
        hidden = relu(linear(w, f"{gate}.layers.0", w[f"{gate}.context"]))
        y = x * 2 / (1 + np.exp(-linear(w, f"{gate}.layers.2", hidden)))
        for i in (2, 3):
            y = dense(w, f"stages.{i}.towers.{stream}", y)
        streams.append(y)
    a, b = streams
    fusion = w["stages.4.weight"]
    products = np.array(
        [
            [a[r, 3 * h : 3 * h + 3] @ fusion[h] @ b[r, 3 * h : 3 * h + 3] for h in range(2)]
            for r in range(len(ids))
        ]
    )
    return np.hstack([a, b, products])


def finalnet(
    w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    ends = []
    for tower in (0, 1):
        x = deep_input(w, ids, numerics, sizes)
        for i in (1, 2):
            h = linear(w, f"stages.{i}.towers.{tower}.linear", x)
            half = h.shape[1] // 2
            h = np.hstack([h[:, :half], h[:, :half] * h[:, half:]])
            x = batch_norm(w, f"stages.{i}.towers.{tower}.after.0", h)
        ends.append(x)
    return np.hstack(ends)


def fcn(w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    x0 = e = x = deep_input(w, ids, numerics, sizes)

    def factor(name: str, y: np.ndarray) -> np.ndarray:
        c = linear({f"{name}.weight": w[f"{name}.linear.weight"]}, name, y)
        masked = c * relu(layer_norm(w, f"{name}.norm", c))
        return np.hstack([c, masked])[:, : y.shape[1]] + w[f"{name}.bias"]

    for i in (1, 2):
        e = e * factor(f"stages.{i}.exponential", e) + e
        x = x0 * factor(f"stages.{i}.linear", x) + x
    return np.hstack([e, x])


def resnet(w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    x = linear(w, "stages.1.linear", deep_input(w, ids, numerics, sizes))
    for i in (2, 3):
        inner = relu(linear(w, f"stages.{i}.layers.1", batch_norm(w, f"stages.{i}.layers.0", x)))
        x = x + linear(w, f"stages.{i}.layers.4", inner)
    return relu(batch_norm(w, "stages.3.close.0", x))


def fttransformer(
    w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    scaled = numerics[:, :, None] * w["stages.0.weight"] + w["stages.0.bias"]
    first = np.repeat(w["stages.0.class_token"][None], len(ids), axis=0)
    tokens = np.concatenate([first, embed(w, ids, sizes), scaled], axis=1)
    for i in (1, 2):
        name = f"stages.{i}"
        normed = tokens if i == 1 else layer_norm(w, f"{name}.attention_norm", tokens)
        query, key, value = (
            linear(w, f"{name}.attention.{part}", normed) for part in ("query", "key", "value")
        )
        tokens = tokens + linear(
            w, f"{name}.attention.out", attend(query, key, value, heads=2, scale=2**-0.5)
        )
        up = linear(w, f"{name}.up", layer_norm(w, f"{name}.forward_norm", tokens))
        half = up.shape[2] // 2
        tokens = tokens + linear(w, f"{name}.down", up[:, :, :half] * relu(up[:, :, half:]))
    return relu(layer_norm(w, "stages.2.close", tokens[:, 0]))


def tabm(w: Weights, ids: np.ndarray, numerics: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    members = [deep_input(w, ids, numerics, sizes)] * 3
    for i in (1, 2):
        name = f"stages.{i}"
        outputs = len(w[f"{name}.linear.linear.weight"])
        for k in range(3):
            y = (members[k] * w[f"{name}.linear.r"][k]) @ w[f"{name}.linear.linear.weight"].T
            y = y * w[f"{name}.linear.s"][k]
            own = slice(k * outputs, (k + 1) * outputs)
            norm = {
                f"n.{key.split('.')[-1]}": w[key][own]
                for key in w
                if key.startswith(f"{name}.norm.") and w[key].ndim
            }
            members[k] = relu(batch_norm(norm, "n", y))
    return np.stack(members, axis=1)


REFERENCES: dict[str, Reference] = {
    "lr": lr,
    "fm": fm,
    "dnn": dnn,
    "widedeep": widedeep,
    "deepfm": deepfm,
    "dcnv2": dcnv2,
    "autoint": autoint,
    "finalmlp": finalmlp,
    "finalnet": finalnet,
    "fcn": fcn,
    "resnet": resnet,
    "fttransformer": fttransformer,
    "tabm": tabm,
}
