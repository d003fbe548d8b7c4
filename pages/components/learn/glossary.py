"""The glossary: terms and metrics of the app, each in one sentence."""

import streamlit as st

from core.evaluation.metric_registry import METRICS

TERMS = {
    "sample": (
        "A Criteo file as imported: rows of 13 numeric and 26 categorical features and a click "
        "label."
    ),
    "dataset": (
        "A prepared sample: categories encoded, numbers standardised, rows split into parts "
        "that never overlap."
    ),
    "source domain": "The plentiful traffic that a backbone is pretrained on.",
    "target domain": (
        "The scarce traffic that you care about, with another distribution: other days, sites "
        "or users."
    ),
    "target statistic": (
        "How often the training rows with a value, or with a pair of values, were clicked, as a "
        "number among a network's inputs. A training row gets it without its own label."
    ),
    "backbone": "A pretrained network: an ordered stack of stages from the input up.",
    "stage": (
        "The smallest part of a backbone that can be frozen: the embedding, a cross layer, a block."
    ),
    "head": (
        "The last layers, which turn the output of the stages into a click probability."
        " Fine-tuning keeps the backbone's own head or puts a new one on."
    ),
    "freeze": (
        "To keep weights exactly as they are: no gradient, no weight decay, no dropout, no "
        "batch statistics."
    ),
    "freeze depth": (
        "The number of frozen stages, counted from the input. 0 trains all of them; freezing "
        "all is a linear probe."
    ),
    "strategy": "Which stages train, when, and at what learning rate.",
    "arm": (
        "One strategy with its options, with all its seeds: the unit that a sweep and Compare "
        "compare."
    ),
    "control": (
        "What fine-tuning has to beat: zero-shot, a logistic regression, gradient boosting, and the"
        " same network trained anew."
    ),
    "zero-shot": "The backbone as it is, with nothing trained.",
    "from scratch": (
        "The same network with random initial weights and a vocabulary of its own, trained on"
        " target rows only."
    ),
    "run": "One training, from its settings to its result.",
    "sweep": "Several strategies, each with several seeds, on one dataset and backbone.",
    "seed": (
        "The start of the random number generator: it decides a new head, the row order and "
        "dropout. Other seeds show the training noise."
    ),
    "epoch": (
        "One pass over the training rows. The weights of the epoch with the lowest validation "
        "loss are kept."
    ),
    "validation rows": (
        "Rows used to choose the best epoch and the threshold. They are not trained on."
    ),
    "test rows": (
        "Rows used only to measure. They choose nothing, so the metrics on them are unbiased."
    ),
    "WiSE-FT, alpha": (
        "Interpolated weights: alpha times the fine-tuned run's plus (1 − alpha) times the "
        "backbone's. Only for runs that kept the backbone's head."
    ),
    "blend": (
        "The mean of the logits of several runs with weights of 0 or above that were fitted on "
        "validation rows by log loss."
    ),
    "worker": "The process that trains. It keeps running when the browser is closed.",
    "threshold": (
        "Rows with at least this predicted probability count as clicks. Chosen on validation "
        "rows, never on test rows."
    ),
}
COMPARISON_TERMS = {
    "95 % interval": (
        "Intervals computed this way contain the true value for 19 of 20 sets of test rows "
        "(and of seeds, where an arm has several)."
    ),
    "ΔAUC": "AUC of an arm minus that of the baseline, on the same rows.",
    "adjusted p": (
        "Probability of a difference at least this large if there were none, Holm-corrected for "
        "the number of comparisons."
    ),
    "not distinguishable": (
        "The difference could be chance with this many test rows and seeds, so neither is called "
        "better. It does not mean that they are equal: the interval says how large a difference "
        "remains possible."
    ),
    "not comparable": (
        "The test rows define no interval (for example with a single click among them), so no "
        "statement is possible."
    ),
}
"""Numbers and words of comparisons."""
OTHER_NUMBERS = {
    "CKA": (
        "Similarity of two networks' activations on the same rows: 1 is equal up to rotation "
        "and scale, 0 unrelated."
    ),
    "drift index": (
        "Population stability index: how far a field's distribution differs between two sets of "
        "rows; below 0.1 little, above 0.25 strongly."
    ),
    "gradient norm": "Size of a stage's gradient in a training step. A frozen stage has none.",
}


def number_terms() -> dict[str, str]:
    """Return an explanation of every number that the app shows.

    Metrics with an interval come first, then comparisons, other metrics, and the rest.
    """
    explained = {key: metric for key, metric in METRICS.items() if metric.glossary}
    with_interval = {entry.name: entry.glossary for entry in explained.values() if entry.interval}
    others = {entry.name: entry.glossary for entry in explained.values() if not entry.interval}
    return with_interval | COMPARISON_TERMS | others | OTHER_NUMBERS


def show_glossary() -> None:
    """Draw both lists, side by side where there is room."""
    words, metrics = st.columns(2, gap="large")
    with words:
        st.markdown("**Words**")
        st.markdown("\n".join(f"- **{word}**: {text}" for word, text in TERMS.items()))
    with metrics:
        st.markdown("**Numbers**")
        st.markdown("\n".join(f"- **{word}**: {text}" for word, text in number_terms().items()))
