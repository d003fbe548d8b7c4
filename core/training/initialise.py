"""Initialise a network before any training.

The ways to do so are described in `core.models.objectives.INITIALISATIONS`.
"""

from pathlib import Path

from core.data.preprocessing import Preprocessing
from core.jobs.reporter import Reporter
from core.jobs.requests import PretrainRequest
from core.models.network import Network
from core.models.zoo.keras_weights import load_imagenet_weights, load_weights_file
from core.training.batches import RowTensors
from core.training.word_vectors import initialise_from_file, initialise_from_rows


def initialise(
    network: Network,
    request: PretrainRequest,
    preprocessing: Preprocessing,
    rows: RowTensors,
    reporter: Reporter,
) -> dict[str, float]:
    """Set the weights of a new network as the request says.

    Args:
        network: with random weights; changed in place.
        request: names the initialisation.
        preprocessing: has the vocabularies, for word vectors.
        rows: source training rows, for Word2Vec.
        reporter: receives progress.

    Returns:
        By title, how much of the network was initialised, if that may be less than all.
    """
    if request.start == "imagenet":
        load_imagenet_weights(network, request.architecture)
    elif request.start == "weights":
        load_weights_file(network, request.architecture, Path(request.start_file))
    elif request.start == "word2vec":
        return initialise_from_rows(network, request, preprocessing, rows, reporter)
    elif request.start == "vectors":
        return initialise_from_file(network, Path(request.start_file), preprocessing)
    return {}
