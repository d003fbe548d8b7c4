"""Text files of vectors: what is accepted, and how others are refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.datasets import Dataset
from core.data.preprocessing import load_preprocessing
from core.errors import BadInput
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.models.backbone import build_network, load_backbone
from core.models.card import HeadSettings, load_card
from core.training import vector_file
from core.training.vector_file import read_vectors
from core.training.word_vectors import embedding_words
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, run_request

WORDS = ["I1=", "I1=?", "I1=5", "C3=", "C3=?", "C3=68fd1e64"]


def write(folder: Path, text: str | bytes, name: str = "vectors.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def same(text: str | bytes, folder: Path, places: list[int], vectors: list[list[float]]) -> None:
    found = read_vectors(write(folder, text), WORDS, 2)
    assert found[0].tolist() == places
    np.testing.assert_array_equal(found[1], np.array(vectors, dtype=np.float32))


def test_lines_become_vectors_in_the_order_of_the_words(tmp_path: Path) -> None:
    same("C3=68fd1e64 0.25 -1e-3\nI1=5 1 2\n", tmp_path, [2, 5], [[1, 2], [0.25, -1e-3]])


@pytest.mark.parametrize(
    "text",
    [
        "I1= 1 2\nC3=? 3 4",
        "2 2\nI1= 1 2\nC3=? 3 4\n",
        "\ufeffI1=\t1\t2 \r\n\r\n  C3=?   3 4\r\n",
        "I1= 1 2\nC3=? 3 4\n<unk> 0 0\nC3=never\u00e9 9 9\nnever 9 9\nnever 9 9\n",
        gzip.compress(b"I1= 1 2\nC3=? 3 4\n"),
    ],
    ids=[
        "no last line end",
        "header",
        "tabs, blank lines, byte order mark",
        "unknown words",
        "gzip",
    ],
)
def test_forms_that_are_taken(text: str | bytes, tmp_path: Path) -> None:
    same(text, tmp_path, [0, 4], [[1, 2], [3, 4]])


@pytest.mark.usefixtures("read_in_process")
def test_lines_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_file, "BLOCK_BYTES", 5)
    same("I1= 1 2\n\nC3=? 3 4", tmp_path, [0, 4], [[1, 2], [3, 4]])


def test_numbers_are_what_gensim_reads(tmp_path: Path) -> None:
    """The same file through gensim's own reader."""
    keyed_vectors = pytest.importorskip("gensim.models").KeyedVectors
    vectors = keyed_vectors(3)
    generator = np.random.default_rng(0)
    vectors.add_vectors(WORDS, generator.normal(size=(len(WORDS), 3)).astype(np.float32))
    path = tmp_path / "vectors.txt"
    vectors.save_word2vec_format(str(path))
    again = keyed_vectors.load_word2vec_format(str(path))
    places, read = read_vectors(path, WORDS, 3)
    assert places.tolist() == list(range(len(WORDS)))
    np.testing.assert_array_equal(read, again[WORDS])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"'vectors.txt' is empty; it needs lines such as 'C3=68fd1e64"),
        ("\n \n", "holds no vectors"),
        ("3 2\n", "holds no vectors"),
        (
            "I1= 1 2 3\n",
            (
                r"Line 1 of 'vectors.txt' gives vectors of 3 floats, but .* have 2; take"
                r" --embedding 3\."
            ),
        ),
        ("2 50\nI1= 1 2\n", "Line 1 .* vectors of 50 floats, .* take --embedding 50"),
        ("I1= 1 2\nC3= 1\n", "Line 2 .* vectors of 1 floats, .* have 2; give every word 2"),
        ("I1=\n", "Line 1 .* vectors of 0 floats"),
        (
            "I1= 1 2\n\nC3= 1 two\n",
            "Line 3 .* has 'two' among its floats, which is no finite number",
        ),
        ("I1= 1 nan\n", "has 'nan' among"),
        ("I1= -inf 1\n", "has '-inf' among"),
        ("I1= 1 1e39\n", "has '1e39' among"),
        ("I1= 1 2\nC3= 1 2\nI1= 3 4\n", "Line 3 .* gives the word 'I1=' a second time"),
        ("3 2\nI1= 1 2\n", "promises 3 vectors, but 1 follow: the file is incomplete"),
        (
            "the 1 2\nof 3 4\n",
            (
                "None of the 2 words .* Words look like 'I1=5' or 'C3=68fd1e64'; the first one"
                " received is 'the'"
            ),
        ),
        (b"I1= 1 2\n\xff\xfe 1 2\n", "Line 2 .* is not UTF-8 text"),
        (b"PAR1 and more", "is a Parquet file"),
        (gzip.compress(b"I1= 1 2\n" * 9, mtime=0)[:-9], "truncated"),
        (b"x" * 70_000, "a line of more than 65,536 bytes after 0"),
    ],
)
def test_refusals(text: str | bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_vectors(write(tmp_path, text), WORDS, 2)


@pytest.mark.usefixtures("read_in_process")
def test_too_long_and_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="There is no file"):
        read_vectors(tmp_path / "none.txt", WORDS, 2)
    monkeypatch.setattr(vector_file, "MAX_BYTES", 10)
    with pytest.raises(BadInput, match="more than 10 bytes"):
        read_vectors(write(tmp_path, "I1= 1 2\nC3= 1 2\n"), WORDS, 2)


def test_backbone_from_a_file(tiny: tuple[Workspace, Dataset], tmp_path: Path) -> None:
    """Some values from the file, the others at their random start, and the frozen stage
    bit-identical after tuning."""
    workspace, dataset = tiny
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    given = {word: place for place, word in enumerate(embedding_words(preprocessing)) if place % 3}
    numbers = np.random.default_rng(0).normal(size=(len(given), 4)).astype(np.float32)
    lines = [
        f"{word} {' '.join(map(repr, vector.tolist()))}"
        for word, vector in zip(given, numbers, strict=True)
    ]
    path = write(tmp_path, "\n".join(lines))
    settings = {"embedding": 4, "widths": [8]}
    request = PretrainRequest(
        dataset.id, "deepfm", "read", QUICK, settings, "none", "vectors", str(path)
    )
    run = run_request(workspace, request)
    assert run.result is not None
    card = load_card(workspace.backbones / run.result.backbone)
    assert [stage.origin for stage in card.stages] == ["vectors", "random"]
    torch.manual_seed(QUICK.seed)
    expected = build_network(
        "deepfm", settings, preprocessing.field_sizes, HeadSettings()
    ).state_dict()
    expected["stages.0.table.weight"][list(given.values())] = torch.from_numpy(numbers)
    stored = load_backbone(card).state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in expected.items())

    tuned = run_request(
        workspace, FinetuneRequest(dataset.id, card.id, freeze_depth=1, train=QUICK)
    )
    model = load_backbone(load_card(workspace.runs / tuned.id / "model")).state_dict()
    assert torch.equal(model["stages.0.table.weight"], stored["stages.0.table.weight"])


def test_wrong_size_names_the_setting(tiny: tuple[Workspace, Dataset], tmp_path: Path) -> None:
    workspace, dataset = tiny
    path = write(tmp_path, "I1= 1 2 3\n")
    with pytest.raises(BadInput, match="take --embedding 3"):
        run_request(
            workspace,
            PretrainRequest(dataset.id, "dnn", "x", QUICK, {}, "none", "vectors", str(path)),
        )
