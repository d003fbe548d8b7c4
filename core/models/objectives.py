"""Initialisations and objectives of pretraining, each in one dict. Needs no torch.

The weights of a backbone come from its initialisation and, if that trains, from its objective. The
card says so for every stage (`origin`), so that no view shows random weights as pretrained ones.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Initialisation:
    """What the stages hold before any training.

    Args:
        title: shown where one is chosen.
        summary: one sentence on it.
        source: the paper.
        file_type: type of the file that it reads; "" if it reads none.
    """

    title: str
    summary: str
    source: str = ""
    file_type: str = ""


@dataclass(frozen=True)
class Objective:
    """What pretraining learns by.

    Args:
        title: shown where one is chosen.
        summary: one sentence on it.
        source: the paper.
        reads_labels: whether it needs click labels.
        trains: whether there is any training.
    """

    title: str
    summary: str
    source: str = ""
    reads_labels: bool = False
    trains: bool = True


INITIALISATIONS: dict[str, Initialisation] = {
    "random": Initialisation("Random weights", "Every stage starts from fresh random weights."),
    "word2vec": Initialisation(
        "Word2Vec embeddings",
        "Source rows are read as sentences of field=value words; skip-gram vectors fill the"
        " embedding stage.",
        "Mikolov et al.: Distributed Representations of Words and Phrases, NeurIPS 2013",
    ),
    "vectors": Initialisation(
        "Vectors from a file",
        "A text file in GloVe's format with one line per field=value fills the embedding stage.",
        "Pennington, Socher, Manning: GloVe, EMNLP 2014 (the format)",
        "GloVe text file",
    ),
    "imagenet": Initialisation(
        "ImageNet weights",
        "Keras loads the weights it publishes: over the network, or from its own cache.",
        "Deng et al.: ImageNet, CVPR 2009",
    ),
    "weights": Initialisation(
        "Weights from a file",
        "A Keras .weights.h5 or .h5 file of the same network without its top.",
        file_type="Keras weights file",
    ),
}

OBJECTIVES: dict[str, Objective] = {
    "supervised": Objective(
        "Clicks (supervised)", "Learns to predict the clicks of source rows.", reads_labels=True
    ),
    "rfd": Objective(
        "Replaced features (RFD)",
        "Fields are replaced by the same field of another row; the network learns which "
        "were. Reads no labels.",
        "Lin et al.: MAP, KDD 2023",
    ),
    "mfp": Objective(
        "Masked features (MFP)",
        "Fields are hidden; the network learns to tell the hidden value from sampled others. Reads"
        " no labels.",
        "Lin et al.: MAP, KDD 2023",
    ),
    "none": Objective("No training", "The stages stay as they start.", trains=False),
}

ORIGINS: dict[str, str] = {
    "supervised": "trained on click labels",
    "rfd": "trained by RFD",
    "mfp": "trained by MFP",
    "word2vec": "Word2Vec",
    "vectors": "vectors from a file",
    "imagenet": "ImageNet",
    "weights": "weights from a file",
    "random": "random",
}
"""What the weights of a stage come from, in the words of every view."""

EMBEDDING_INITIALISATIONS = ("word2vec", "vectors")
"""Initialisations of the embedding stage alone; the other stages stay random."""

PROJECTION_SIZE = 32
"""RFD and MFP: numbers per field between the last stage and the detector's logits, and size of the
output vector of a value (the paper's code)."""
NEGATIVES = 25
"""MFP: values drawn for each hidden value (the paper's code). Here all hidden values of a field in
a batch share one draw: the expected loss is the same, and scoring is one matrix product instead of
a look-up for each."""


def stage_origins(start: str, objective: str, stages: int) -> tuple[str, ...]:
    """Return where the weights of each stage come from, from the input up.

    >>> stage_origins("word2vec", "none", 3)
    ('word2vec', 'random', 'random')
    >>> stage_origins("word2vec", "supervised", 3)
    ('supervised', 'supervised', 'supervised')
    """
    if OBJECTIVES[objective].trains:
        return (objective,) * stages
    if start in EMBEDDING_INITIALISATIONS:
        return (start, *("random",) * (stages - 1))
    return (start,) * stages
