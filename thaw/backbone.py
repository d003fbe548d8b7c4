"""Backbones: pretrained networks, as ordered stages from the input up."""

from pathlib import Path

import pandas as pd

from core.data.dataset_rows import measure_coverage
from core.data.paths import clean_path
from core.data.preprocessing import load_preprocessing
from core.evaluation.format_metrics import format_auc
from core.files.permissions import private_files
from core.models.card import BackboneCard
from core.models.exchange import export_backbone
from core.runs import removal, renaming
from core.workspace import Workspace
from thaw.arguments import checked
from thaw.data import Dataset
from thaw.display import card_html, note_html, table_html


class Backbone:
    """A pretrained network: ordered stages from the input up.

    `info` is its card: architecture, stages, what it was trained on, licence.
    """

    def __init__(self, workspace: Workspace, info: BackboneCard) -> None:
        self._workspace = workspace
        self.info = info

    @property
    def id(self) -> str:
        """Its id, such as ``b-8e4f…``."""
        return self.info.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def stages(self) -> pd.DataFrame:
        """A row per stage from the input up: its freeze depth is its position from 1."""
        return pd.DataFrame(
            {
                "depth": range(1, len(self.info.stages) + 1),
                "stage": [stage.title for stage in self.info.stages],
                "name": [stage.name for stage in self.info.stages],
                "parameters": [stage.parameters for stage in self.info.stages],
                "operations": [stage.flops for stage in self.info.stages],
            }
        )

    @checked
    def vocabulary(self, data: Dataset) -> pd.DataFrame:
        """Shares of a dataset's target values that it never saw or that are missing, by field."""
        found = measure_coverage(
            self._workspace, data.info, load_preprocessing(self.info.folder / "preprocessing")
        )
        rows = [
            {"field": one.field, "unseen": one.unseen_share, "missing": one.missing_share}
            for one in found
        ]
        return pd.DataFrame(rows).sort_values(
            ["unseen", "missing"], ascending=False, ignore_index=True
        )

    @checked
    def export(self, out: str | Path) -> Path:
        """Write the backbone into one zip archive, to be imported elsewhere. Returns its path."""
        path = clean_path(str(out))
        with private_files():
            export_backbone(self.info, path)
        return path

    @checked
    def rename(self, name: str) -> "Backbone":
        """Give the backbone another name. Returns the renamed backbone."""
        with private_files():
            return Backbone(
                self._workspace, renaming.rename_backbone(self._workspace, self.info, name)
            )

    def delete(self) -> None:
        """Delete the backbone.

        Runs that fine-tuned it keep their results, but cannot be repeated.
        """
        removal.delete_backbone(self._workspace, self.info)

    def __repr__(self) -> str:
        card = self.info
        size = f"{len(card.stages)} stages, {card.parameters:,} parameters"
        return f"<thaw.Backbone {self.name!r}: {card.architecture}, {size}>"

    def _repr_html_(self) -> str:
        card = self.info
        marks = ["simulated"] * bool(card.trained_on.get("simulated")) + ["bundled"] * card.bundled
        quality = (
            f"{card.test_domain} test {format_auc(card.metrics)}" if card.scores_clicks else ""
        )
        note = note_html(f"{card.architecture}, {card.parameters:,} parameters. {quality}".strip())
        return card_html(
            f"Backbone {self.name}", marks, table_html(self.stages.to_dict("records")), note
        )
