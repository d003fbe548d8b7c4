"""The workspace: where everything begins."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Unpack

import pandas as pd

from core.data.datasets import Dataset as StoredDataset
from core.data.datasets import find_dataset, list_datasets
from core.data.paths import clean_path, name_from_file
from core.data.prepare import prepare_files
from core.data.read_options import ColumnSource, ReadOptions
from core.data.reading.ingest import ingest
from core.data.samples import find_sample, list_samples
from core.errors import BadInput
from core.files.durable import staging
from core.files.permissions import private_files
from core.jobs.requests import MASK_SHARE
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone, list_backbones
from core.models.card import BackboneCard
from core.runs.blends import submit_blend
from core.runs.launch import refresh_statuses
from core.runs.search import submit_search
from core.runs.submit import backbone_names_in_training, submit_finetune, submit_pretrain
from core.runs.sweep import Sweep as StoredSweep
from core.runs.sweep import SweepSpec, list_sweeps, resume_sweep, submit_sweep
from core.workspace import open_workspace
from thaw.arguments import checked
from thaw.backbone import Backbone
from thaw.data import Dataset, Sample
from thaw.display import Listing, Progress, card_html, note_html
from thaw.follow import load_torch
from thaw.options import (
    FinetuneOptions,
    PartOptions,
    PretrainOptions,
    SweepOptions,
    Wait,
    split_spec,
)
from thaw.requests import (
    finetune_request,
    free_sweep_name,
    pretrain_request,
    same_spec,
    search_sweep_spec,
    sweep_spec,
)
from thaw.run import Run, list_runs
from thaw.sweep import Sweep
from thaw.tables import (
    backbones_table,
    datasets_table,
    samples_table,
    sweeps_table,
    write_rows,
)

Preset = Literal["auto", "fast", "small", "article", "map"]


class Workspace:
    """The folder of samples, datasets, backbones and runs that app and command line use too.

    Args:
        folder: default: ``$THAW_HOME``, else ``./workspace``; made when absent.

    Raises:
        BadInput: the folder cannot be used.
    """

    @checked
    def __init__(self, folder: str | Path | None = None) -> None:
        with private_files():
            self._workspace = open_workspace(folder)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._workspace.root

    # What is there.

    @property
    def samples(self) -> Listing[Sample]:
        """Its samples, newest first."""
        found = list_samples(self._workspace)
        items = [Sample(self._workspace, one) for one in found]
        return Listing(items, "samples", lambda: samples_table(found))

    @property
    def datasets(self) -> Listing[Dataset]:
        """Its datasets, newest first."""
        found = list_datasets(self._workspace)
        items = [Dataset(self._workspace, one) for one in found]
        return Listing(items, "datasets", lambda: datasets_table(found))

    @property
    def backbones(self) -> Listing[Backbone]:
        """Its backbones, the bundled ones among them."""
        found = list_backbones(self._workspace)
        items = [Backbone(self._workspace, one) for one in found]
        return Listing(items, "backbones", lambda: backbones_table(found))

    @property
    def runs(self) -> Listing[Run]:
        """Its runs, newest first."""
        store = RunStore(self._workspace)
        refresh_statuses(self._workspace, store)
        return list_runs(self._workspace, store.list())

    @property
    def sweeps(self) -> Listing[Sweep]:
        """Its sweeps, newest first."""
        found = list_sweeps(self._workspace)
        items = [Sweep(self._workspace, one.id) for one in found]
        return Listing(items, "sweeps", lambda: sweeps_table(found))

    @checked
    def sample(self, name: Sample | str) -> Sample:
        """The sample of that name or id; BadInput lists those there are."""
        named = name.id if isinstance(name, Sample) else name
        return Sample(self._workspace, find_sample(self._workspace, named))

    @checked
    def dataset(self, name: Dataset | str) -> Dataset:
        """The dataset of that name or id; BadInput lists those there are."""
        named = name.id if isinstance(name, Dataset) else name
        return Dataset(self._workspace, find_dataset(self._workspace, named))

    @checked
    def backbone(self, name: Backbone | str) -> Backbone:
        """The backbone of that name or id; BadInput lists those there are."""
        named = name.id if isinstance(name, Backbone) else name
        return Backbone(self._workspace, find_backbone(self._workspace, named))

    @checked
    def run(self, run_id: Run | str) -> Run:
        """The run of that id; BadInput where there is none."""
        named = run_id.id if isinstance(run_id, Run) else run_id
        return Run(self._workspace, RunStore(self._workspace).get(named).id)

    # Data.

    @checked
    def ingest(
        self,
        rows: str | Path | pd.DataFrame,
        name: str | None = None,
        *,
        on_bad_rows: Literal["reject", "skip"] = "reject",
        simulated: bool = False,
        member: str = "",
        columns: Mapping[str, ColumnSource] | None = None,
        keep: Sequence[str] | None = None,
    ) -> Sample:
        """Take rows into the workspace, checked and typed.

        The same rows give the same sample again.

        Args:
            rows: a file of Criteo rows (text, Parquet or Feather; plain, packed or in an archive),
                or a table with the columns label, I1 to I13 and C1 to C26.
            name: of the sample; default: the file's name without its endings. A table needs one.
            on_bad_rows: "reject" the file at its first bad row, or "skip" and count bad rows.
            simulated: mark the sample as simulated wherever it appears.
            member: of an archive, the file that holds the rows.
            columns: which column is which, where the names do not say it: ``{"label": "clicked",
                "I1": 2}``; names, positions from 1, None for a column that is missing.
            keep: columns beside label and features to keep, for splits and slices; default: all.

        Raises:
            BadInput: the rows cannot be used; the message names the row and the value. Nothing is
                stored then.

        >>> sample = ws.ingest("train.txt")  # doctest: +SKIP
        >>> sample = ws.ingest(frame, name="march", columns={"label": "clicked"})  # doctest: +SKIP
        """
        options = ReadOptions(member, columns, None if keep is None else tuple(keep))
        with private_files(), staging(self._workspace.uploads) as folder:
            if isinstance(rows, pd.DataFrame):
                if not name:
                    raise BadInput(
                        "A table has no name of its own; give the sample one: ingest(table, "
                        "name='...')."
                    )
                path = write_rows(rows, folder)
            else:
                path = clean_path(str(rows))
            with Progress(f"Reading {path.name}") as report:
                found = ingest(
                    self._workspace,
                    path,
                    name or name_from_file(member or path.name),
                    on_bad_rows,
                    report,
                    simulated,
                    allow_single_class=True,
                    options=options,
                )
        return Sample(self._workspace, found)

    @checked
    def simulate(
        self,
        rows: int,
        domain: Literal["source", "target", "both"] = "both",
        seed: int = 0,
        name: str = "Simulated Criteo",
        recipe: Literal["ordinary", "transfer"] = "ordinary",
    ) -> Sample:
        """Take simulated rows into the workspace, marked as such: for trying things out.

        Args:
            rows: how many.
            domain: "source", "target", or "both" (60 % source rows, then 40 % target rows).
            seed: of the rows; the same arguments give the same rows.
            name: of the sample.
            recipe: how the target domain differs from the source: "ordinary", a little, as a week
                later; or "transfer", much, so that adapting a backbone pays.
        """
        from core.data.simulate import simulate

        with private_files(), staging(self._workspace.uploads) as folder:
            path = folder / "simulated_criteo.tsv.gz"
            with Progress(f"Simulating {rows:,} rows") as report:
                simulate(path, rows, domain, seed, lambda share: report(share / 2), recipe)
                found = ingest(
                    self._workspace,
                    path,
                    name,
                    progress=lambda share: report(0.5 + share / 2),
                    simulated=True,
                )
        return Sample(self._workspace, found)

    @checked
    def prepare(
        self,
        name: str,
        *,
        source: "Sample | str | None" = None,
        target: "Sample | str | None" = None,
        source_validation: "Sample | str | None" = None,
        source_test: "Sample | str | None" = None,
        target_validation: "Sample | str | None" = None,
        target_test: "Sample | str | None" = None,
        min_count: int | None = None,
        **parts: Unpack[PartOptions],
    ) -> Dataset:
        """Prepare a dataset from several samples, each with its role.

        Of one sample: `Sample.prepare`.

        Args:
            name: of the dataset. source, target: samples with each domain's rows.
                source_validation, source_test, target_validation, target_test: samples with the
                rows of a part, where they
                are a file of their own; the parts without one are cut from the domain's sample.
            min_count: see `Sample.prepare`.
            parts: shares of the parts that are cut, ``shuffle`` and ``split_seed``, see
                `Sample.prepare`.
        """
        given = {
            "source": source,
            "source_validation": source_validation,
            "source_test": source_test,
            "target": target,
            "target_validation": target_validation,
            "target_test": target_test,
        }
        files = {
            role: one.info if isinstance(one, Sample) else find_sample(self._workspace, one)
            for role, one in given.items()
            if one is not None
        }
        spec = split_spec(parts, several_files=True)
        with private_files(), Progress(f"Preparing {name}") as report:
            return Dataset(
                self._workspace,
                prepare_files(self._workspace, files, spec, name, min_count, report),
            )

    # Training.

    @checked
    def pretrain(
        self,
        data: Dataset | str,
        architecture: str,
        name: str,
        *,
        objective: str = "supervised",
        start: str = "random",
        start_file: str | Path = "",
        mask_share: float = MASK_SHARE,
        statistics: Literal["none", "fields", "pairs"] | None = None,
        preset: Preset = "auto",
        wait: Wait = False,
        **options: Unpack[PretrainOptions],
    ) -> Run:
        """Train a new backbone on a dataset's source rows.

        Args:
            data: the dataset, or its name.
            architecture: a key of `core.models.registry.ARCHITECTURES`, such as "dcnv2".
            name: of the backbone.
            objective: "supervised" (clicks), "rfd", "mfp", or "none".
            start: what the stages hold at first: "random", or another of
                `core.models.objectives.INITIALISATIONS`.
            start_file: the file of vectors or weights that the start reads.
            mask_share: share of fields that "rfd" replaces and "mfp" hides.
            statistics: target statistics and counts among the inputs: "fields", those of every
                categorical field, or "pairs", also the statistics of 30 chosen pairs of fields;
                by default by the number of rows.
            preset: of the training settings; "auto" chooses them by the number of training rows.
            wait: when to return, see `Wait`.
            options: training settings that replace the preset's, and settings of the architecture.

        Raises:
            BadInput: a setting cannot be used, the dataset lacks source rows or labels, or the name
                is taken.
        """
        dataset = self._dataset(data)
        request = pretrain_request(
            dataset,
            architecture,
            name,
            objective,
            start,
            start_file,
            mask_share,
            statistics,
            preset,
            options,
        )
        with private_files():
            queued = submit_pretrain(self._workspace, request, run_here=wait == "here")
        return self._finish([Run(self._workspace, queued.id)], wait)

    @checked
    def finetune(
        self,
        data: Dataset | str,
        backbone: Backbone | Run | str,
        freeze_depth: int | None = None,
        *,
        strategy: str | None = None,
        target_rows: int = 0,
        controls: Sequence[str] = (),
        preset: Preset = "auto",
        wait: Wait = False,
        **options: Unpack[FinetuneOptions],
    ) -> Run:
        """Adapt a backbone to a dataset's target rows.

        For several seeds or strategies side by side: `sweep`.

        Args:
            data: the dataset, or its name.
            backbone: the backbone, its name, or the pretraining run that made it.
            freeze_depth: stages frozen from the input; 0 is full fine-tuning.
            strategy: instead of a depth, a key of `core.freezing.strategies.STRATEGIES`, such as
                "lora".
            target_rows: use only this many target rows, the last ones; 0 for all.
            controls: runs beside it to compare it with, of "zero-shot", "logistic-regression",
                "gradient-boosting", "retrain" and "scratch"; see `Run.controls`.
            preset: of the training settings; "auto" chooses them by the number of training rows.
            wait: when to return, see `Wait`.
            options: training settings that replace the preset's; ``head``, "keep" for the
                backbone's own or "new", by default "keep" where that can be done and the preset is
                not "article"; ``head_hidden``, ``head_activation`` and ``head_output`` of a new
                head; ``inputs``, "kept" for the backbone's vocabulary and statistics (the default)
                or "refitted" to extend both by the target's training rows; and options of the
                strategy, such as ``rank`` of "lora" or ``rows`` of a
                control.

        Raises:
            BadInput: a setting cannot be used with this backbone or dataset.

        >>> run = ws.finetune(data, "Simulated DCNv2", freeze_depth=2, epochs=10)  # doctest: +SKIP
        >>> run = ws.finetune(data, mine, strategy="lora", rank=8, wait=True)  # doctest: +SKIP
        """
        request = finetune_request(
            self._dataset(data),
            self._card(backbone),
            freeze_depth,
            strategy,
            target_rows,
            preset,
            options,
        )
        with private_files():
            queued = submit_finetune(self._workspace, request, controls, run_here=wait == "here")
        return self._finish([Run(self._workspace, one.id) for one in queued], wait)

    @checked
    def sweep(
        self,
        data: Dataset | str,
        backbone: Backbone | Run | str,
        *,
        depths: Sequence[int] | Literal["all"] = (),
        strategies: Sequence[str] = (),
        surgical: Sequence[Sequence[str]] = (),
        control_rows: Mapping[str, Sequence[str]] | None = None,
        seeds: int = 3,
        rates: Sequence[float] = (),
        choose_rate: bool = True,
        blend: bool = True,
        target_sizes: Sequence[int] = (0,),
        halving: int = 0,
        windows: int = 0,
        window_start: Literal["backbone", "last"] = "backbone",
        window_column: str = "",
        name: str | None = None,
        preset: Preset = "auto",
        wait: Wait = False,
        **options: Unpack[SweepOptions],
    ) -> Sweep:
        """Run strategies side by side over seeds.

        Args:
            data: the dataset, or its name.
            backbone: the backbone, its name, or the pretraining run that made it.
            depths: freeze depths, each an arm, or "all" of the backbone's.
            strategies: keys of `core.freezing.strategies.STRATEGIES`, each an arm; "zero-shot",
                "logistic-regression", "gradient-boosting", "retrain" and "scratch" are controls.
            surgical: for each arm of the strategy "surgical" the names of the stages that train.
                Without depths, strategies and these, every depth and every control is an arm.
            control_rows: by control some of "source", "target" and "both", each an arm:
                ``{"gradient-boosting": ["source", "target", "both"]}``.
            seeds: of every arm: 0, 1, 2, …
            rates: learning rates for every arm; default: four around the preset's.
            blend: whether the network that leads on validation rows is blended with gradient
                boosting once all runs have ended, where the sweep has both.
            choose_rate: whether every arm is tried with each of these rates and its own is chosen
                on validation rows; else each rate is a setting of its own, and without `rates`
                every arm trains at the preset's.
            target_sizes: numbers of target rows for every arm; 0 for all.
            halving: with 2, 3 or 4, only the best one in `halving` arms trains on at every rung.
            windows: for rolling evaluation, cut the target rows into this many windows in the order
                of time; every arm trains on each but the last and is tested on the next one. 0 for
                the dataset's own split.
            window_start: what each window starts from: the backbone, or the last window's model.
            window_column: cut windows by the values of this extra column, such as "day"; default:
                by row order.
            name: of the sweep; default: made of backbone and dataset. One that is there and asks
                for the same is gone on with.
            preset, wait, options: see `finetune`; without ``seed`` and ``stages``.

        Raises:
            BadInput: an arm is not possible with this backbone, or the name belongs to another
                sweep.

        >>> sweep = ws.sweep(data, backbone, depths="all", seeds=3).wait()  # doctest: +SKIP
        >>> print(sweep.verdict)  # doctest: +SKIP
        >>> ws.sweep(data, backbone, windows=5, window_start="last")  # doctest: +SKIP
        """
        dataset, card = self._dataset(data), self._card(backbone)
        spec = sweep_spec(
            self._workspace,
            dataset,
            card,
            depths,
            strategies,
            surgical,
            control_rows,
            seeds,
            rates,
            choose_rate,
            blend,
            target_sizes,
            halving,
            (windows, window_start, window_column),
            preset,
            options,
        )
        return self._start_sweep(spec, name, f"{card.name} on {dataset.name}", submit_sweep, wait)

    @checked
    def search(
        self,
        data: Dataset | str,
        backbone: Backbone | Run | str,
        *,
        runs: int | None = None,
        minutes: float = 0.0,
        depths: Sequence[int] | Literal["all"] = (),
        strategies: Sequence[str] = (),
        rates: Sequence[float] = (),
        weight_decays: Sequence[float] | None = None,
        seeds: int = 3,
        trial_seeds: int = 1,
        search_seed: int = 0,
        pruner: Literal["median", "none"] = "median",
        target_rows: int = 0,
        name: str | None = None,
        preset: Preset = "auto",
        wait: Wait = False,
        **options: Unpack[SweepOptions],
    ) -> Sweep:
        """Search strategy, learning rate, head and weight decay within a budget.

        Settings are chosen by log loss on validation rows; the winner is trained again with new
        seeds and judged on test rows once, beside full fine-tuning and the backbone as it is.

        Args:
            data: the dataset, or its name.
            backbone: the backbone, its name, or the pretraining run that made it.
            runs: how many the search may take; default: 20, or no bound where there are `minutes`.
            minutes: how long its runs may take in all; 0 for no bound. One that has begun ends.
            depths: freeze depths to choose from, or "all" of the backbone's.
            strategies: strategies to choose from. Without depths and these: every depth and some
                strategies.
            rates: lowest and highest learning rate; default: around the preset's.
            weight_decays: to choose from; default: none, 1e-4, 1e-3, 1e-2 and the preset's.
            seeds: that the winner is judged with.
            trial_seeds: seeds, and so runs, for each setting that is tried.
            search_seed: of the sampler.
            pruner: "median" ends a run early where its validation loss is above the median of the
                others after as many epochs; "none" ends none.
            target_rows: use only this many target rows, the last ones; 0 for all.
            name: of the search; default: made of backbone and dataset. One that is there and asks
                for the same is gone on with.
            preset, wait, options: see `sweep`. ``head`` searches with that head alone.

        Returns:
            A sweep, with `Sweep.best`, `Sweep.trials_table` and `Sweep.search_figure`.

        Raises:
            BadInput: a strategy is not possible with this backbone, or a value is out of its range.

        >>> found = ws.search(data, backbone, runs=20, minutes=10).wait()  # doctest: +SKIP
        >>> found.best  # doctest: +SKIP
        """
        dataset, card = self._dataset(data), self._card(backbone)
        spec = search_sweep_spec(
            dataset,
            card,
            runs,
            minutes,
            depths,
            strategies,
            rates,
            weight_decays,
            seeds,
            trial_seeds,
            search_seed,
            pruner,
            target_rows,
            preset,
            options,
        )
        title = f"search {card.name} on {dataset.name}"
        return self._start_sweep(spec, name, title, submit_search, wait)

    def _start_sweep(
        self,
        spec: SweepSpec,
        name: str | None,
        title: str,
        submit: Callable[..., StoredSweep],
        wait: Wait,
    ) -> Sweep:
        """Go on with the sweep or search of this name that asks for the same, or submit a new one.

        Args:
            spec: what it asks for.
            name: that the caller gave; None for `title`, or a free name like it.
            title: see `name`.
            submit: `submit_sweep` or `submit_search`.
            wait: see `sweep`.
        """
        sweeps = list_sweeps(self._workspace)
        found = next(
            (one for one in sweeps if one.name == name and same_spec(one.spec, spec)), None
        )
        with private_files():
            if found:
                resume_sweep(self._workspace, found)
            else:
                name = name or free_sweep_name(sweeps, title)
                found = submit(self._workspace, spec, name, run_here=wait == "here")
        sweep = Sweep(self._workspace, found.id)
        if wait == "here":
            return sweep.train_here()
        return sweep.wait() if wait else sweep

    @checked
    def blend(
        self,
        runs: Sequence[Run | str],
        *,
        name: str = "",
        wait: Wait = False,
        calibration: str | Sequence[str] | None = None,
    ) -> Run:
        """Blend finished runs: the mean of their logits, weighted on validation rows.

        Args:
            runs: two or more, or their ids, with the same dataset and validation rows; their order
                changes nothing.
            name: of the blend; default: made of its runs.
            wait: when to return, see `Wait`.
            calibration: method by which the scores of each run are calibrated before they are
                blended, or one for all ("none" for none); default: what each run uses.

        Returns:
            The blend. If these runs have been blended already, that blend.

        Raises:
            BadInput: a run is not done, or two of them differ in their rows.

        >>> blend = ws.blend([tuned, boosted], wait=True)  # doctest: +SKIP
        >>> blend.weights  # doctest: +SKIP
        """
        ids = [run.id if isinstance(run, Run) else run for run in runs]
        with private_files():
            queued = submit_blend(
                self._workspace,
                ids,
                name,
                run_here=wait == "here",
                calibration=[calibration] if isinstance(calibration, str) else calibration,
            )
        blend = Run(self._workspace, queued.id)
        return blend if queued.status == "done" else self._finish([blend], wait)

    @checked
    def import_backbone(self, path: str | Path, name: str = "") -> Backbone:
        """Import a backbone from a zip archive of `Backbone.export` or a folder of `Run.export`.

        Loads torch.
        """
        load_torch()
        from core.models.backbone_import import import_backbone

        with private_files():
            card = import_backbone(
                self._workspace,
                clean_path(str(path)),
                name,
                lambda: backbone_names_in_training(self._workspace),
            )
        return Backbone(self._workspace, card)

    # Inside.

    def _dataset(self, data: Dataset | str) -> StoredDataset:
        return data.info if isinstance(data, Dataset) else find_dataset(self._workspace, data)

    def _card(self, backbone: Backbone | Run | str) -> BackboneCard:
        if isinstance(backbone, Run):
            backbone = backbone.backbone
        return (
            backbone.info
            if isinstance(backbone, Backbone)
            else find_backbone(self._workspace, backbone)
        )

    def _finish(self, runs: Sequence[Run], wait: Wait) -> Run:
        if wait == "here":
            for run in runs:
                run.train_here()
        elif wait:
            for run in runs:
                run.wait()
        return runs[0]

    def __repr__(self) -> str:
        return f"<thaw.Workspace {str(self.folder)!r}: {self._counts()}>"

    def _repr_html_(self) -> str:
        return card_html(f"Workspace {self.folder}", [], note_html(self._counts()))

    def _counts(self) -> str:
        found = (self.samples, self.datasets, self.backbones, self.runs, self.sweeps)
        return ", ".join(
            f"{len(one)} {one.what if len(one) != 1 else one.what[:-1]}" for one in found
        )
