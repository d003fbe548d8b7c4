"""What a network holds before any training: the starts of core.models.objectives, carried out."""

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
    """Fills the stages of a fresh `network` as the request's start says; `rows` are the source
    training rows.

    Gives, by title, how much of the network the start has filled, where that may be less than all.
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
