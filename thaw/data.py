"""Samples (files of rows as given) and datasets (samples prepared for training)."""

import dataclasses
from pathlib import Path
from typing import Literal, Unpack

import pandas as pd

from core.cli.data_text import dataset_text, sample_text
from core.data import datasets, prepare, samples
from core.data.drift import measure_drift
from core.data.paths import clean_path
from core.data.preprocessing import load_preprocessing
from core.data.profile import profile_columns
from core.data.schema import FIELDS, LABEL
from core.data.simulate import simulate as write_simulated
from core.errors import BadInput
from core.files.permissions import private_files
from core.runs import removal, renaming
from core.workspace import Workspace
from thaw.arguments import checked
from thaw.display import Progress, card_html, note_html, table_html
from thaw.follow import load_torch
from thaw.options import SplitOptions, split_spec, to_builtin


class Sample:
    """A file of Criteo rows in the workspace, as it was given.

    `info` has all that is known of it.
    """

    def __init__(self, workspace: Workspace, info: samples.Sample) -> None:
        self._workspace = workspace
        self.info = info

    @property
    def id(self) -> str:
        """Its id, such as ``s-8e4f…``."""
        return self.info.id

    @property
    def name(self) -> str:
        """The name that the user gave it."""
        return self.info.name

    def __len__(self) -> int:
        return self.info.rows

    @checked
    def prepare(
        self,
        name: str | None = None,
        *,
        min_count: int | None = None,
        **split: Unpack[SplitOptions],
    ) -> "Dataset":
        """Split the rows into source and target domain and prepare them for training.

        Vocabularies and statistics are fitted on training rows only. The same arguments give the
        same dataset again.

        Args:
            name: of the dataset; default: the sample's.
            min_count: categorical values that occur less often share one embedding; default: 10,
                less for few rows.
            split: ``split`` is "order" (default: the first rows are the source), "column" or
                "random". ``source_share`` (default 0.6), 0 for none. ``column``, ``target_values``:
                with split="column", the column that tells the domains apart and its values that
                mean target. ``target_test_share`` (default 0.5), ``target_validation_share`` (0.1
                of the rest), ``source_test_share`` (0.1), ``source_validation_share`` (0.05 of the
                rest). ``shuffle``: the rows of each domain before they are cut, with
                split="column". ``split_seed``: of split="random" and of ``shuffle``.

        Raises:
            BadInput: the split leaves a part without rows of both classes, or the name is taken.

        >>> data = sample.prepare(source_share=0.6)  # doctest: +SKIP
        """
        spec = split_spec(split)
        with private_files(), Progress(f"Preparing {self.name}") as report:
            found = prepare.prepare(
                self._workspace, self.info, spec, name or self.name, min_count, report
            )
        return Dataset(self._workspace, found)

    @checked
    def to_pandas(self, rows: int | None = None) -> pd.DataFrame:
        """The first `rows` rows (default: all), with the columns kept beside label and features."""
        if rows is not None and rows < 0:
            raise BadInput(f"rows is {rows}; it must be 0 or more.")
        return samples.read_sample_rows(self.info, limit=to_builtin(rows)).to_pandas()

    def profile(self) -> pd.DataFrame:
        """A row per column: missing and distinct values, quantiles, most frequent values."""
        with Progress(f"Profiling {self.name}") as report:
            return pd.DataFrame(map(dataclasses.asdict, profile_columns(self.info, report)))

    @checked
    def rename(self, name: str) -> "Sample":
        """Give the sample another name. Returns the renamed sample."""
        with private_files():
            return Sample(self._workspace, renaming.rename_sample(self._workspace, self.info, name))

    def delete(self) -> None:
        """Delete the sample. BadInput while a dataset or a run that is active needs it."""
        removal.delete_unused_sample(self._workspace, self.info)

    def __repr__(self) -> str:
        return f"<thaw.Sample {sample_text(self.info)}>"

    def _repr_html_(self) -> str:
        facts = {
            "Rows": self.info.rows,
            "Click rate": self.info.click_rate,
            "Bad rows skipped": self.info.bad_rows,
            "File": self.info.source,
            "Id": self.id,
        }
        return card_html(
            f"Sample {self.name}",
            _marks(self.info.simulated),
            table_html([facts]),
            *_notes(self.info),
        )


class Dataset:
    """Rows prepared for training: split, with vocabularies and statistics.

    `info` has all that is known of it.
    """

    def __init__(self, workspace: Workspace, info: datasets.Dataset) -> None:
        self._workspace = workspace
        self.info = info

    @property
    def id(self) -> str:
        """Its id, such as ``d-8e4f…``."""
        return self.info.id

    @property
    def name(self) -> str:
        """The name that the user gave it."""
        return self.info.name

    def __len__(self) -> int:
        return self.info.rows

    @property
    def parts(self) -> pd.DataFrame:
        """A row per part: domain, what it is for (train, validation, test), rows and click rate."""
        rows = []
        for part in self.info.parts:
            domain, _, use = part.part.partition("_")
            rows.append(
                {"domain": domain, "part": use, "rows": part.rows, "click rate": part.click_rate}
            )
        return pd.DataFrame(rows)

    def drift(self) -> pd.DataFrame:
        """How far each field moved between source and target, the most moved first.

        `psi` is the population stability index.
        """
        found = sorted(
            measure_drift(self._workspace, self.info), key=lambda one: one.psi, reverse=True
        )
        return pd.DataFrame([{**dataclasses.asdict(one), "level": one.level} for one in found])

    @checked
    def costs(self, *architectures: str) -> pd.DataFrame:
        """Parameters, and operations per row of data, of architectures on this dataset.

        Builds every network, so it loads torch.
        """
        load_torch()
        from core.models.measure_stats import measure_stats
        from core.models.recommended_settings import choose_settings, pretraining_rows
        from core.models.registry import ARCHITECTURES, is_installed

        rows = pretraining_rows(self.info)

        fitted = load_preprocessing(self.info.folder / "preprocessing")
        names = architectures or [name for name in ARCHITECTURES if is_installed(name)]
        found = [
            measure_stats(name, choose_settings(name, {}, rows), fitted.field_sizes, fitted.n_dense)
            for name in names
        ]
        return pd.DataFrame(
            {
                "architecture": [one.architecture for one in found],
                "stages": [len(one.stages) for one in found],
                "parameters": [one.parameters for one in found],
                "operations": [one.flops for one in found],
            }
        )

    @checked
    def rename(self, name: str) -> "Dataset":
        """Give the dataset another name. Returns the renamed dataset."""
        with private_files():
            return Dataset(
                self._workspace, renaming.rename_dataset(self._workspace, self.info, name)
            )

    def delete(self) -> None:
        """Delete the dataset; runs keep their results. BadInput while an active run needs it."""
        removal.delete_unused_dataset(self._workspace, self.info)

    def __repr__(self) -> str:
        return f"<thaw.{dataset_text(self.info)}>"

    def _repr_html_(self) -> str:
        parts = self.parts[self.parts["rows"] > 0]
        body = table_html(parts.to_dict("records"))
        return card_html(
            f"Dataset {self.name}", _marks(self.info.simulated), body, note_html(*self.info.notes)
        )


@checked
def simulate(
    rows: int,
    domain: Literal["source", "target", "both"] = "both",
    seed: int = 0,
    out: str | Path | None = None,
    recipe: Literal["ordinary", "transfer"] = "ordinary",
) -> pd.DataFrame:
    """Simulated rows with the marginals of the Criteo data, for trying things out.

    Args:
        rows: how many.
        domain: "source", "target", or "both" (60 % source rows, then 40 % target rows).
        seed: of the rows; the same arguments give the same rows.
        out: also write them to this file, in the form of Kaggle's train.txt; gzipped where the name
            ends in .gz.
        recipe: how the target domain differs from the source: "ordinary", a little, as a week
            later; or "transfer", much, so that adapting a backbone pays.

    Returns:
        A table with label, I1 to I13 (float) and C1 to C26 (str), missing values as NaN and None.

    Raises:
        BadInput: `rows` is below 1, the domain or the recipe is unknown, or `out` cannot be
            written or ends in the name of another format.

    >>> simulate(100, "target", seed=1).shape
    (100, 40)
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = clean_path(str(out)) if out else Path(folder) / "rows.tsv"
        write_simulated(path, rows, domain, seed, recipe=recipe)
        types = {name: "str" if name.startswith("C") else "float64" for name in FIELDS}
        return pd.read_csv(
            path,
            sep="\t",
            header=None,
            names=[LABEL, *FIELDS],
            dtype={LABEL: "int8", **types},
            compression="gzip" if path.name.endswith(".gz") else None,
        )


def simulated_marks(workspace: Workspace, dataset_id: str) -> list[str]:
    """The mark of whatever rests on a simulated dataset; none where the dataset is gone."""
    try:
        return _marks(datasets.find_dataset(workspace, dataset_id).simulated)
    except BadInput:
        return []


def _marks(simulated: bool) -> list[str]:
    return ["simulated"] if simulated else []


def _notes(info: samples.Sample) -> list[str]:
    return [note_html(*info.notes, *info.bad_examples[:1])]
