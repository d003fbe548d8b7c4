"""Some damaged binaries, and texts compared with an independent reader; benchmarks/torture_files.py
takes more."""

from benchmarks.torture_binaries import sound_files
from benchmarks.torture_files import torture_binaries, torture_texts


def test_damaged_binaries_are_read_or_refused_with_a_message() -> None:
    ends = [end for _, end in torture_binaries(range(60))]
    assert [end for end in ends if end.outcome.startswith("!")] == []
    # Both happen, or the damage is too mild or too harsh to tell anything.
    assert 0 < sum(end.outcome == "rows" for end in ends) < 60
    assert len(sound_files()) > 60


def test_a_file_that_ends_the_process_reading_it_is_counted_and_refused() -> None:
    """One of those that pyarrow aborts over; the number is what makes the file."""
    ((kind, end),) = torture_binaries(range(206, 207))
    assert (
        kind.startswith("Parquet")
        and end.died == "signal 6"
        and "ended the process that read it" in end.outcome
    )


def test_texts_are_read_as_by_an_independent_reader() -> None:
    ends = torture_texts(range(80))
    assert [end for end in ends if end.outcome.startswith("!") or end.died] == []
    assert sum(end.rows for end in ends) > 2000 and any(end.bad for end in ends)
