"""Arrow IPC files and streams of an example table."""

import io

import numpy as np
import pyarrow as pa

ROWS = 1000


CODECS = [None, "zstd", "lz4"]


WRITERS = {"arrow": pa.ipc.new_file, "arrow-stream": pa.ipc.new_stream}


def example_table(rows: int = ROWS) -> pa.Table:
    """Numbers, text and dictionaries, some of them missing."""
    dice = np.random.default_rng(0)
    words = [
        None if number % 7 == 0 else f"{number:08x}" * (number % 3 + 1)
        for number in dice.integers(0, 50, rows)
    ]
    return pa.table(
        {
            "label": pa.array(dice.integers(0, 2, rows), pa.int8()),
            "I1": pa.array(
                [None if number < 20 else float(number) for number in dice.integers(0, 99, rows)]
            ),
            "C1": pa.array(words),
            "C2": pa.array(words).dictionary_encode(),
        }
    )


def ipc_bytes(
    data: pa.Table, kind: str = "arrow", codec: str | None = None, chunk: int | None = None
) -> bytes:
    """The table as a file or stream."""
    stream = io.BytesIO()
    with WRITERS[kind](
        stream, data.schema, options=pa.ipc.IpcWriteOptions(compression=codec)
    ) as writer:
        writer.write_table(data, max_chunksize=chunk)
    return stream.getvalue()
