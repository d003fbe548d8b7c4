"""Read word vectors in GloVe's text format: an untrusted file, read in blocks and checked by line.

A line holds a word and its numbers, separated by spaces or tabs: `C3=68fd1e64 0.12 -0.5 …`. The
words are those of `core.training.word_vectors.embedding_words`; a word that contains whitespace
cannot be written in this format. word2vec's text format has a line `count size` before that, and
the file must keep what it promises. Plain or compressed, as a sample may be (gzip and so on).
"""

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.data.archives.containers import PARQUET, detect_container, open_rows
from core.data.paths import check_input
from core.data.reading import reader_process
from core.data.reading.reader_server import SendEvent
from core.errors import BadInput
from core.models.registry import SETTING_FIELDS

MAX_LINE = 65_536
"""Bytes of a line; 256 numbers of 17 digits take 7,000."""
MAX_BYTES = 20 * 2**30
"""Bytes of the unpacked text; the largest file that GloVe's authors publish has under 6 GB."""
BLOCK_BYTES = 2**20
_WORDS, _PLACES, _VECTORS = "words.json", "places.npy", "vectors.npy"
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_EXAMPLE = "it needs lines such as 'C3=68fd1e64 0.12 -0.5 …'"


def read_vectors(path: Path, words: list[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Run `parse_vectors` in a process of its own, because the file comes from a stranger."""
    with tempfile.TemporaryDirectory(prefix="thaw-") as folder:
        (Path(folder) / _WORDS).write_text(json.dumps(words), encoding="ascii")
        request = {"path": str(path), "folder": folder, "size": size}
        reader_process.call(read_vectors_job, path, request)
        indices, vectors = (
            np.load(Path(folder) / name, allow_pickle=False) for name in (_PLACES, _VECTORS)
        )
    types_fit = indices.dtype == np.int64 and vectors.dtype == np.float32
    if not types_fit or vectors.shape != (len(indices), size):
        raise BadInput(
            f"{path.name!r} gave vectors of another shape than expected; write it again."
        )
    return indices, vectors


def read_vectors_job(request: dict[str, Any], report_progress: SendEvent) -> None:
    """Do the work of `read_vectors` in the other process; words and results travel as files."""
    folder = Path(request["folder"])
    words = json.loads((folder / _WORDS).read_text(encoding="ascii"))
    indices, vectors = parse_vectors(Path(request["path"]), words, request["size"], report_progress)
    np.save(folder / _PLACES, indices)
    np.save(folder / _VECTORS, vectors)


def parse_vectors(
    path: Path, words: list[str], size: int, report_progress: SendEvent
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of the words that the file and `words` have in common.

    Lines of other words are checked and skipped, so memory is bounded by `words`.

    Args:
        path: the file.
        words: of the embedding table.
        size: numbers per vector.
        report_progress: called with the share of the file that has been read.

    Returns:
        Indices into `words`, int64 ``(n,)``; vectors, float32 ``(n, size)``.

    Raises:
        BadInput: a line, named by its number, does not have `size` finite numbers or repeats one of
            `words`; the file has none of `words`, or fewer vectors than its first line promises.
    """
    index_of = {word: index for index, word in enumerate(words)}
    found = np.zeros(len(words), dtype=bool)
    vectors = np.zeros((len(words), size), dtype=np.float32)
    promised: int | None = None
    first_word, n_vectors = "", 0
    for number, line in _lines(path, report_progress):
        try:
            word, *values = _decode(line).split()
            has_header_shape = len(values) == 1 and word.isdecimal() and values[0].isdecimal()
            if number == 1 and has_header_shape:
                promised = int(word)
                _check_size(int(values[0]), size, first=True)
                continue
            vector = _parse_floats(values)
            _check_size(len(vector), size, first=n_vectors == 0)
            first_word = first_word or word
            n_vectors += 1
            index = index_of.get(word)
            if index is None:
                continue
            if found[index]:
                raise ValueError(
                    f"gives the word {_shorten(word)} a second time; keep one of the two"
                )
        except ValueError as fault:
            raise BadInput(f"Line {number:,} of {path.name!r} {fault}.") from fault
        found[index] = True
        vectors[index] = vector
    if not n_vectors:
        raise BadInput(f"{path.name!r} holds no vectors; {_EXAMPLE}.")
    if promised is not None and promised != n_vectors:
        raise BadInput(
            f"The first line of {path.name!r} promises {promised:,} vectors, but {n_vectors:,} "
            "follow: the file is incomplete; fetch it again."
        )
    if not found.any():
        raise BadInput(
            f"None of the {n_vectors:,} words in {path.name!r} is in the dataset's vocabulary. "
            f"Words look like {_example_words(words)}; the first one received is "
            f"{_shorten(first_word)}."
        )
    indices = np.flatnonzero(found)
    return indices, vectors[indices]


def _lines(path: Path, report_progress: SendEvent) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) of every line that is not blank, with one block in memory."""
    check_input(path, "file of vectors")
    if not path.stat().st_size:
        raise BadInput(f"{path.name!r} is empty; {_EXAMPLE}.")
    if detect_container(path) == PARQUET:
        raise BadInput(
            f"{path.name!r} is a Parquet file, where vectors are read from text; {_EXAMPLE}."
        )
    number = n_bytes = 0
    rest = b""
    with open_rows(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            report_progress(stream.progress)
            n_bytes += len(block)
            # A small archive may unpack to any size.
            if n_bytes > MAX_BYTES:
                raise BadInput(
                    f"{path.name!r} holds more than {MAX_BYTES:,} bytes of text; leave other "
                    "words out."
                )
            *whole, rest = (rest + block).split(b"\n")
            if max(map(len, [*whole, rest])) > MAX_LINE:
                raise BadInput(
                    f"{path.name!r} has a line of more than {MAX_LINE:,} bytes after {number:,}; "
                    f"{_EXAMPLE}."
                )
            for line in whole:
                number += 1
                if line.strip():
                    yield number, line
    if rest.strip():
        yield number + 1, rest


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text: {line[:40]!r}") from error


def _parse_floats(values: list[str]) -> np.ndarray:
    """Return the values as float32; ValueError names the first that is no finite number."""
    floats = []
    for value in values:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        # Written so that it is also true for NaN.
        if not abs(number) <= _FLOAT32_MAX:
            raise ValueError(f"has {_shorten(value)} among its floats, which is no finite number")
        floats.append(number)
    return np.array(floats, dtype=np.float32)


def _check_size(received: int, size: int, first: bool) -> None:
    """Raise ValueError unless a vector has `size` numbers.

    Args:
        received: numbers of the vector.
        size: numbers of the network's embeddings.
        first: whether it is the file's first vector, which shows the size of all of them.
    """
    if received == size:
        return
    other_size = first and 1 <= received <= SETTING_FIELDS["embedding"].high
    hint = f"take --embedding {received}" if other_size else f"give every word {size}"
    raise ValueError(
        f"gives vectors of {received} floats, but the network's embeddings have {size}; {hint}"
    )


def _example_words(words: list[str]) -> str:
    values = [word for word in words if word[-1] not in "=?"] or words
    return f"{_shorten(values[0])} or {_shorten(values[-1])}"


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
