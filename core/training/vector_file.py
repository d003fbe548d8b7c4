"""Text files of word vectors in GloVe's format, as an untrusted file: read in pieces, checked line
by line.

A line holds a word and its floats, between spaces or tabs: `C3=68fd1e64 0.12 -0.5 …`. The words are
those of core.training.word_vectors.embedding_words; one with whitespace inside cannot be written here.
word2vec's text format is the same below a first line `count floats`, which is held to its word.
Plain, or packed as a sample may be (gzip and so on).
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
"""Bytes: 256 floats of 17 digits take 7,000."""
MAX_BYTES = 20 * 2**30
"""Unpacked; the largest file that GloVe's authors publish has under 6 GB."""
BLOCK_BYTES = 2**20
_WORDS, _PLACES, _VECTORS = "words.json", "places.npy", "vectors.npy"
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_EXAMPLE = "it needs lines such as 'C3=68fd1e64 0.12 -0.5 …'"


def read_vectors(path: Path, words: list[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """`parse_vectors`, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="thaw-") as folder:
        (Path(folder) / _WORDS).write_text(json.dumps(words), encoding="ascii")
        reader_process.call(
            read_vectors_job, path, {"path": str(path), "folder": folder, "size": size}
        )
        places, vectors = (
            np.load(Path(folder) / name, allow_pickle=False) for name in (_PLACES, _VECTORS)
        )
    if (
        places.dtype != np.int64
        or vectors.dtype != np.float32
        or vectors.shape != (len(places), size)
    ):
        raise BadInput(
            f"{path.name!r} gave vectors of another shape than was asked for; write it again."
        )
    return places, vectors


def read_vectors_job(request: dict[str, Any], report_progress: SendEvent) -> None:
    """The work of `read_embedding_vectors`: the words come as a file of its folder, and so do the places and
    vectors go."""
    folder = Path(request["folder"])
    words = json.loads((folder / _WORDS).read_text(encoding="ascii"))
    places, vectors = parse_vectors(Path(request["path"]), words, request["size"], report_progress)
    np.save(folder / _PLACES, places)
    np.save(folder / _VECTORS, vectors)


def parse_vectors(
    path: Path, words: list[str], size: int, report_progress: SendEvent
) -> tuple[np.ndarray, np.ndarray]:
    """(places int64 (n,) in `words`, vectors float32 (n, size)) of the words that the file and
    `words` share.

    Other words' lines are checked and passed over, so that memory is bounded by `words`. BadInput,
    with the line's number: not `size` floats, no finite number, one of `words` a second time.
    BadInput as well for a file that holds none of `words` or not as many vectors as its first line
    promises.
    """
    place_of = {word: place for place, word in enumerate(words)}
    found = np.zeros(len(words), dtype=bool)
    vectors = np.zeros((len(words), size), dtype=np.float32)
    promised: int | None = None
    first, count = "", 0
    for number, line in _lines(path, report_progress):
        try:
            word, *values = _decode(line).split()
            if number == 1 and len(values) == 1 and word.isdecimal() and values[0].isdecimal():
                promised = int(word)
                _check_size(int(values[0]), size, first=True)
                continue
            vector = _parse_floats(values)
            _check_size(len(vector), size, first=count == 0)
            first = first or word
            count += 1
            place = place_of.get(word)
            if place is None:
                continue
            if found[place]:
                raise ValueError(
                    f"gives the word {_shorten(word)} a second time; keep one of the two"
                )
        except ValueError as fault:
            raise BadInput(f"Line {number:,} of {path.name!r} {fault}.") from fault
        found[place] = True
        vectors[place] = vector
    if not count:
        raise BadInput(f"{path.name!r} holds no vectors; {_EXAMPLE}.")
    if promised is not None and promised != count:
        raise BadInput(
            f"The first line of {path.name!r} promises {promised:,} vectors, but {count:,} follow:"
            " the file is incomplete; fetch it again."
        )
    if not found.any():
        raise BadInput(
            f"None of the {count:,} words in {path.name!r} is in the dataset's vocabulary. Words"
            f" look like {_example_words(words)}; the first one received is {_shorten(first)}."
        )
    places = np.flatnonzero(found)
    return places, vectors[places]


def _lines(path: Path, report_progress: SendEvent) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) of every line that is not blank; no more than a block and a line in
    memory."""
    check_input(path, "file of vectors")
    if not path.stat().st_size:
        raise BadInput(f"{path.name!r} is empty; {_EXAMPLE}.")
    if detect_container(path) == PARQUET:
        raise BadInput(
            f"{path.name!r} is a Parquet file, where vectors are read from text; {_EXAMPLE}."
        )
    number = read = 0
    rest = b""
    with open_rows(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            report_progress(stream.progress)
            read += len(block)
            if read > MAX_BYTES:
                raise BadInput(
                    f"{path.name!r} holds more than {MAX_BYTES:,} bytes of text; leave other words"
                    " out."
                )
            *whole, rest = (rest + block).split(b"\n")
            if max(map(len, [*whole, rest])) > MAX_LINE:
                raise BadInput(
                    f"{path.name!r} has a line of more than {MAX_LINE:,} bytes after {number:,};"
                    f" {_EXAMPLE}."
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
    """The values as float32; ValueError with the first that is no finite number."""
    floats = []
    for value in values:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        # False for NaN as well.
        if not abs(number) <= _FLOAT32_MAX:
            raise ValueError(f"has {_shorten(value)} among its floats, which is no finite number")
        floats.append(number)
    return np.array(floats, dtype=np.float32)


def _check_size(received: int, size: int, first: bool) -> None:
    """ValueError unless a vector has `size` floats; the first one tells what size the whole file
    has."""
    if received == size:
        return
    other = first and 1 <= received <= SETTING_FIELDS["embedding"].high
    hint = f"take --embedding {received}" if other else f"give every word {size}"
    raise ValueError(
        f"gives vectors of {received} floats, but the network's embeddings have {size}; {hint}"
    )


def _example_words(words: list[str]) -> str:
    named = [word for word in words if word[-1] not in "=?"] or words
    return f"{_shorten(named[0])} or {_shorten(named[-1])}"


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
