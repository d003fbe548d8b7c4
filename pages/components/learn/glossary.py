"""The words and numbers of the app, a plain sentence each."""

import streamlit as st

from core.evaluation.metric_registry import METRICS

TERMS = {
    "sample": (
        "A Criteo file as it was given: rows of 13 numbers, 26 categories and whether the ad was"
        " clicked."
    ),
    "dataset": (
        "A sample made ready: values numbered, numbers standardised, rows split into parts that"
        " never mix."
    ),
    "source domain": "The plentiful traffic that a backbone learns from first.",
    "target domain": (
        "The scarce traffic that you care about, and that differs: other days, sites or users."
    ),
    "backbone": "A network that has already learnt, an ordered pile of stages from the input up.",
    "stage": "The smallest part of a backbone that freezes: the embedding, a cross layer, a block.",
    "head": (
        "The last layer, put on anew, which turns what the stages hand on into a click probability."
    ),
    "freeze": (
        "To leave weights exactly as they are: no gradient, no decay, no dropout, no moving"
        " averages."
    ),
    "freeze depth": (
        "How many stages, counted from the input, are frozen. 0 trains all; all of them is a linear"
        " probe."
    ),
    "strategy": "Which stages train, when, and at what learning rate.",
    "arm": (
        "One strategy with its options, all its seeds together: what a sweep and Compare lay side"
        " by side."
    ),
    "control": "What fine-tuning has to beat: zero-shot and from scratch.",
    "zero-shot": (
        "The backbone as it is, with nothing trained: the first thing fine-tuning must beat."
    ),
    "from scratch": (
        "The same network with new weights, trained on the target alone: the second thing to beat."
    ),
    "run": "One training, from its settings to its result.",
    "sweep": "Several strategies, each with several seeds, on one dataset and backbone.",
    "seed": (
        "The number that chance hangs on: the new head, the order of rows, dropout. Others show its"
        " noise."
    ),
    "epoch": (
        "One pass over the rows that train; between epochs, validation rows say which weights to"
        " keep."
    ),
    "validation rows": (
        "Rows that choose: the best epoch, the threshold, the leader. They train nothing."
    ),
    "test rows": "Rows that only measure. They choose nothing, so what they say is fair.",
    "WiSE-FT, alpha": (
        "A mixture of weights: alpha parts of the fine-tuned run, the rest of the backbone as it"
        " was."
    ),
    "worker": "The process that trains. It lives on when the browser is closed.",
    "threshold": (
        "A row counts as a click from this probability on. Chosen on validation rows, never on test"
        " rows."
    ),
}
COMPARISON_TERMS = {
    "95 % interval": (
        "Where the number would lie 19 times in 20 with other test rows of the same kind (DeLong)."
    ),
    "ΔAUC": "AUC less that of what an arm is held against, on the same rows.",
    "adjusted p": (
        "How often chance alone would show such a difference; raised by Holm as more is compared."
    ),
    "not distinguishable": (
        "The difference could be chance with this many test rows, so neither is called better."
    ),
    "not comparable": (
        "The test rows define no interval, as with a single click among them, so nothing can be"
        " said."
    ),
}
"""Numbers and words of comparisons."""
OTHER_NUMBERS = {
    "CKA": (
        "How alike two networks' activations are on the same rows: 1 alike up to turning and"
        " scaling, 0 unrelated."
    ),
    "drift index": (
        "How far a field has moved between two sets of rows: below 0.1 little, above 0.25 strongly."
    ),
    "gradient norm": (
        "How hard a training step pulls on a stage. A frozen stage is not pulled on at all."
    ),
}


def number_terms() -> dict[str, str]:
    """A sentence for every number: metrics with an interval, comparisons, other metrics, the rest."""
    explained = {key: metric for key, metric in METRICS.items() if metric.glossary}
    with_interval = {one.name: one.glossary for one in explained.values() if one.interval}
    others = {one.name: one.glossary for one in explained.values() if not one.interval}
    return with_interval | COMPARISON_TERMS | others | OTHER_NUMBERS


def show_glossary() -> None:
    """Both lists, side by side where there is room."""
    words, metrics = st.columns(2, gap="large")
    with words:
        st.markdown("**Words**")
        st.markdown("\n".join(f"- **{word}**: {about}" for word, about in TERMS.items()))
    with metrics:
        st.markdown("**Numbers**")
        st.markdown("\n".join(f"- **{word}**: {about}" for word, about in number_terms().items()))
