"""Word vectors of field values: skip-gram over rows read as sentences, and the embedding stage they
fill.

A row is a sentence of 39 words in file order, one a field. A word is `field=value`: "C3=68fd1e64"
for a category, "I2=5" for the numeric bucket 5 (core.data.preprocessing.bucketize), "C3=" for a
missing value and "C3=?" for every value that is not in the vocabulary. Labels are no part of a
sentence.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from core.data.preprocessing import Preprocessing
from core.data.schema import FIELDS, NUMERIC
from core.jobs.reporter import Reporter
from core.jobs.requests import PretrainRequest
from core.models.network import Embedding, Network
from core.training.batches import RowTensors
from core.training.loop import POINTS_PER_EPOCH, CancelledError
from core.training.vector_file import read_vectors

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

EPOCHS = 2
NEGATIVES = 5
START_ALPHA, END_ALPHA = 0.025, 0.0001
"""Negatives sampled for a pair and learning rates: word2vec's own defaults."""
CHUNK_ROWS = 32
"""Rows a call of gensim, so also between two looks at the cancel flag. gensim adds their loss up in
32 bits, which leaves the mean of 32 rows 0.7 % too low, that of 512 rows 5 %."""
EMBEDDING_STD = 0.05
"""Standard deviation of the table. Skip-gram's own is near 0.9, at which a factorisation machine
does not learn at all; the 0.01 of random starts was too small for frozen vectors to be heard beside
the numerics (docs/decisions.md)."""


def embedding_words(preprocessing: Preprocessing) -> list[str]:
    """The word of every row of the embedding table: fields in file order, ids ascending within a
    field."""
    result = []
    for field in FIELDS:
        known = preprocessing.vocabularies[field].to_pylist()
        values = [str(int(value)) for value in known] if field in NUMERIC else known
        unseen = "?"
        while unseen in values:
            unseen += "?"
        result += [f"{field}={value}" for value in ("", unseen, *values)]
    return result


def initialise_from_rows(
    network: Network,
    request: PretrainRequest,
    preprocessing: Preprocessing,
    rows: RowTensors,
    reporter: Reporter,
) -> dict[str, float]:
    """Fills the embedding stage with vectors learnt from `rows` by skip-gram; labels are not read.
    See `fill`.

    The vectors are moved to mean 0 and scaled to the deviation SPREAD. What all words share tells
    none of them apart, and a factorisation machine would multiply it with itself for every pair of
    fields.
    """
    reporter.phase("learning word vectors")
    stage = _embedding(network)
    vocabulary = embedding_words(preprocessing)
    ids = rows.state[0]
    # In the ids' own 32 bits, since these are all the rows there are.
    places = (ids + stage.offsets.to(ids.dtype)).cpu().numpy()
    # Where an objective trains after this, the curve is that objective's.
    curve = request.objective == "none"
    learnt = train_word2vec(
        vocabulary, places, stage.table.embedding_dim, request.train.seed, reporter, curve
    )
    filled = np.array(
        [place for place, word in enumerate(vocabulary) if word in learnt.key_to_index]
    )
    vectors = learnt[[vocabulary[place] for place in filled]]
    centred = vectors - vectors.mean(axis=0)
    return fill_embeddings(stage, filled, centred * (EMBEDDING_STD / centred.std()))


def initialise_from_file(
    network: Network, path: Path, preprocessing: Preprocessing
) -> dict[str, float]:
    """Fills the embedding stage with the vectors of a text file (core.training.vector_file), as they
    are. See `fill`."""
    stage = _embedding(network)
    return fill_embeddings(
        stage, *read_vectors(path, embedding_words(preprocessing), stage.table.embedding_dim)
    )


def fill_embeddings(
    stage: Embedding, table_rows: np.ndarray, vectors: np.ndarray
) -> dict[str, float]:
    """Puts `vectors` (n, size) into the rows `places` (n,) of the table; the other rows stay
    random.

    Gives how many values have a vector now, and of how many, by title.
    """
    weight = stage.table.weight
    with torch.no_grad():
        weight[torch.from_numpy(table_rows).to(weight.device)] = torch.from_numpy(vectors).to(
            weight
        )
    return {"Values with a vector": len(table_rows), "Values": len(weight)}


def train_word2vec(
    vocabulary: list[str],
    word_ids: np.ndarray,
    size: int,
    seed: int,
    reporter: Reporter,
    report_loss: bool,
) -> "KeyedVectors":
    """gensim's vectors of every word that occurs: skip-gram with negative sampling (Mikolov et al.,
    NeurIPS 2013).

    places: (rows, fields), places of each row's words in `vocabulary`. The window is the whole row:
    fields have no order that means anything. curve: reports the mean loss of a pair as
    "train_loss". The same arguments give the same bits: one thread, and no order that hangs on ties
    or on Python's hash. CancelledError when the reporter says stop.
    """
    # Here, since importing it takes a second and every worker imports this module.
    from gensim.models import Word2Vec

    model = Word2Vec(
        sg=1,
        vector_size=size,
        window=word_ids.shape[1],
        shrink_windows=False,
        negative=NEGATIVES,
        sample=0,
        min_count=1,
        sorted_vocab=0,
        workers=1,
        seed=seed,
    )
    # One entry for every chunk would pile up.
    model.lifecycle_events = None
    counts = np.bincount(word_ids.ravel(), minlength=len(vocabulary))
    occurring = {vocabulary[place]: int(counts[place]) for place in np.flatnonzero(counts)}
    model.build_vocab_from_freq(occurring, corpus_count=len(word_ids))
    names = np.array(vocabulary, dtype=object)
    chunks = math.ceil(len(word_ids) / CHUNK_ROWS)
    steps = EPOCHS * chunks
    every = math.ceil(chunks / POINTS_PER_EPOCH)
    loss, pairs = 0.0, 0
    for step in range(1, steps + 1):
        if reporter.should_stop():
            raise CancelledError
        epoch, chunk = divmod(step - 1, chunks)
        sentences = names[word_ids[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]].tolist()
        model.train(
            sentences,
            total_examples=len(sentences),
            epochs=1,
            start_alpha=_alpha(step - 1, steps),
            end_alpha=_alpha(step, steps),
            compute_loss=True,
        )
        loss += float(model.get_latest_training_loss())
        pairs += len(sentences) * word_ids.shape[1] * (word_ids.shape[1] - 1)
        if step % every == 0 or step % chunks == 0:
            reporter.progress(epoch + 1, EPOCHS, step, steps)
            if report_loss:
                reporter.points([(step, "train_loss", loss / pairs)])
            loss, pairs = 0.0, 0
    return model.wv


def _alpha(step: int, steps: int) -> float:
    return START_ALPHA + (END_ALPHA - START_ALPHA) * step / steps


def _embedding(network: Network) -> Embedding:
    stage = network.stage_list()[0]
    # The registry's `starts` keep others away.
    assert isinstance(stage, Embedding)
    return stage
