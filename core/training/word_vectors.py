"""Word2Vec vectors of field values: skip-gram over rows as sentences, for the embedding stage.

A row is a sentence of 39 words, one per field in file order. A word is `field=value`: "C3=68fd1e64"
for a category, "I2=5" for the numeric bucket 5 (`core.data.preprocessing.bucketize`), "C3=" for a
missing value and "C3=?" for every value that is not in the vocabulary. Labels are not read.

Source: Mikolov et al.: Distributed Representations of Words and Phrases, NeurIPS 2013.
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
from core.training.log_points import POINTS_PER_EPOCH
from core.training.loop import CancelledError
from core.training.vector_file import read_vectors

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

EPOCHS = 2
NEGATIVES = 5
START_ALPHA, END_ALPHA = 0.025, 0.0001
"""Negatives per pair and learning rates are word2vec's own defaults."""
CHUNK_ROWS = 32
"""Rows per call of gensim; between two calls a run can be cancelled. gensim sums the losses of a
call in 32 bits, by which the mean over 32 rows is 0.7 % too low, and that over 512 rows 5 %."""
EMBEDDING_STD = 0.05
"""Standard deviation of the table. Skip-gram's own is near 0.9, at which a factorisation machine
does not learn at all; at the 0.01 of random embeddings, frozen vectors had no effect beside the
numeric features (docs/decisions.md)."""


def embedding_words(preprocessing: Preprocessing) -> list[str]:
    """Return the word of every row of the embedding table: fields in file order, ids ascending."""
    result = []
    for field in FIELDS:
        vocabulary = preprocessing.vocabularies[field].to_pylist()
        values = [str(int(value)) for value in vocabulary] if field in NUMERIC else vocabulary
        unseen = "?"
        # A vocabulary may hold the value "?" itself.
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
    """Fill the embedding stage with vectors that skip-gram learns from `rows`.

    The vectors are shifted to mean 0 and scaled to the standard deviation `EMBEDDING_STD`. What all
    words have in common distinguishes none of them, and a factorisation machine would multiply it
    with itself for every pair of fields.

    Returns:
        See `fill_embeddings`.
    """
    reporter.phase("learning word vectors")
    stage = _embedding(network)
    vocabulary = embedding_words(preprocessing)
    ids = rows.state[0]
    # [rows, fields]: rows of the embedding table. Not widened to int64, these are all rows there
    # are.
    word_ids = (ids + stage.offsets.to(ids.dtype)).cpu().numpy()
    # If an objective trains afterwards, the loss curve of the run is that objective's.
    report_loss = request.objective == "none"
    size, seed = stage.table.embedding_dim, request.train.seed
    vectors = train_word2vec(vocabulary, word_ids, size, seed, reporter, report_loss)
    table_rows = np.array(
        [row for row, word in enumerate(vocabulary) if word in vectors.key_to_index]
    )
    found = vectors[[vocabulary[row] for row in table_rows]]
    centred = found - found.mean(axis=0)
    return fill_embeddings(stage, table_rows, centred * (EMBEDDING_STD / centred.std()))


def initialise_from_file(
    network: Network, path: Path, preprocessing: Preprocessing
) -> dict[str, float]:
    """Fill the embedding stage with the vectors of a text file, as they are.

    Returns:
        See `fill_embeddings`.
    """
    stage = _embedding(network)
    words = embedding_words(preprocessing)
    return fill_embeddings(stage, *read_vectors(path, words, stage.table.embedding_dim))


def fill_embeddings(
    stage: Embedding, table_rows: np.ndarray, vectors: np.ndarray
) -> dict[str, float]:
    """Write vectors to rows of the embedding table; other rows keep their random vectors.

    Args:
        stage: the embedding stage.
        table_rows: rows to write to, ``(n,)``.
        vectors: ``(n, size)``.

    Returns:
        How many values have a vector now, and how many there are, by title.
    """
    weight = stage.table.weight
    with torch.no_grad():
        rows = torch.from_numpy(table_rows).to(weight.device)
        weight[rows] = torch.from_numpy(vectors).to(weight)
    return {"Values with a vector": len(table_rows), "Values": len(weight)}


def train_word2vec(
    vocabulary: list[str],
    word_ids: np.ndarray,
    size: int,
    seed: int,
    reporter: Reporter,
    report_loss: bool,
) -> "KeyedVectors":
    """Train skip-gram with negative sampling; return vectors of every word that occurs.

    The window is the whole row, since the order of fields means nothing. The same arguments give
    the same bits: gensim runs in one thread, and words are numbered without ties or Python's hash.

    Args:
        vocabulary: all words.
        word_ids: index into `vocabulary` of each row's words, ``(rows, fields)``.
        size: of a vector.
        seed: of the initial vectors and the negatives.
        reporter: receives progress; says when to stop.
        report_loss: report the mean loss of a pair as "train_loss".

    Raises:
        CancelledError: the reporter asked to stop.
    """
    # Imported here: it takes a second, and every worker imports this module.
    from gensim.models import Word2Vec

    n_rows, n_fields = word_ids.shape
    model = Word2Vec(
        sg=1,
        vector_size=size,
        window=n_fields,
        shrink_windows=False,
        negative=NEGATIVES,
        sample=0,
        min_count=1,
        sorted_vocab=0,
        workers=1,
        seed=seed,
    )
    # gensim appends an entry per call of train, and there are thousands.
    model.lifecycle_events = None
    counts = np.bincount(word_ids.ravel(), minlength=len(vocabulary))
    frequencies = {vocabulary[index]: int(counts[index]) for index in np.flatnonzero(counts)}
    model.build_vocab_from_freq(frequencies, corpus_count=n_rows)
    names = np.array(vocabulary, dtype=object)
    chunks = math.ceil(n_rows / CHUNK_ROWS)
    total_steps = EPOCHS * chunks
    log_interval = math.ceil(chunks / POINTS_PER_EPOCH)
    loss, pairs = 0.0, 0
    for step in range(1, total_steps + 1):
        if reporter.should_stop():
            raise CancelledError
        epoch, chunk = divmod(step - 1, chunks)
        sentences = names[word_ids[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]].tolist()
        model.train(
            sentences,
            total_examples=len(sentences),
            epochs=1,
            # The rate falls linearly over all steps. gensim would restart it in every call.
            start_alpha=_alpha(step - 1, total_steps),
            end_alpha=_alpha(step, total_steps),
            compute_loss=True,
        )
        loss += float(model.get_latest_training_loss())
        pairs += len(sentences) * n_fields * (n_fields - 1)
        if step % log_interval == 0 or step % chunks == 0:
            reporter.progress(epoch + 1, EPOCHS, step, total_steps)
            if report_loss:
                reporter.points([(step, "train_loss", loss / pairs)])
            loss, pairs = 0.0, 0
    return model.wv


def _alpha(step: int, total_steps: int) -> float:
    return START_ALPHA + (END_ALPHA - START_ALPHA) * step / total_steps


def _embedding(network: Network) -> Embedding:
    stage = network.stage_list()[0]
    # The registry offers these initialisations only for networks that start with an embedding.
    assert isinstance(stage, Embedding)
    return stage
