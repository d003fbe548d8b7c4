"""The form that adds a sample.

It takes an uploaded file, a file on the server's machine, or simulated rows.
"""

import dataclasses
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.data.paths import clean_path, name_from_file
from core.data.profile import profile_columns
from core.data.read_options import DEFAULT_OPTIONS, ON_BAD_ROWS, ReadOptions, to_cli_args
from core.data.reading import reader_process
from core.data.reading.ingest import ingest
from core.data.samples import Sample, save_sample
from core.data.simulate import SIMULATED_DOMAINS, SIMULATED_RECIPES, simulate
from core.errors import BadInput, ThawError, UnreadableRow
from core.files.durable import staging
from core.program import COMMAND, PROGRAM
from pages.components.shared.access import guarded_button, lock_reason
from pages.components.shared.common import NAME_HELP, show_command, workspace
from pages.components.shared.errors import catch_errors, show_error
from pages.components.shared.read_options_form import SourceFile, read_options_form
from pages.components.shared.uploads import upload_field

SAMPLE_SOURCES = {
    "upload": ":material/upload_file: Upload",
    "path": ":material/folder_open: File on this machine",
    "simulate": ":material/science: Simulate",
}
DOMAIN_TITLES = {
    "both": "source, then target (60 : 40)",
    "source": "source only",
    "target": "target only",
}
RECIPE_TITLES = {
    "ordinary": "ordinary: a week later",
    "transfer": "transfer: adapting pays",
}
RECIPE_HELP = (
    "How the target domain differs from the source domain, which is the same in both recipes. "
    "*Ordinary*: a little of everything has changed, as a week later. Models rank as on real "
    "Criteo rows: logistic regression, then networks, then gradient boosting. *Transfer*: 40 % of "
    "the rows belong to abnormal users, for whom the effects of numeric fields are reversed, and "
    "the effects of six other fields have changed. It shows how Thaw works where adapting pays, "
    "not whether it pays on your rows."
)
UPLOAD_KEY = "sample_upload"
"""Widget key of the uploader."""
ACCEPTED_FORMATS = (
    "Text with 40 columns (39 without the label), CSV, Parquet or Feather; uncompressed, "
    "compressed or in an archive."
)
MAX_SIMULATED_ROWS = 5_000_000


@dataclass(frozen=True)
class PendingSample:
    """A file to ingest.

    Attributes:
        original_name: the file's own name; `path` may be a copy with a generated name.
        is_upload: whether `path` is our copy of an upload, which is deleted afterwards.
    """

    path: Path
    original_name: str
    name: str
    on_bad_rows: str
    is_upload: bool
    options: ReadOptions = DEFAULT_OPTIONS


def add_sample() -> None:
    """Draw the form; after a successful ingest, the new sample is selected in the URL.

    A file that was refused is kept, so that it can be tried again without its bad rows.
    """
    way = st.segmented_control(
        "Add rows from",
        [*SAMPLE_SOURCES],
        format_func=SAMPLE_SOURCES.__getitem__,
        default="upload",
        required=True,
        key="way",
        help=(
            "An upload is copied into the workspace, a path is read in place, and simulated "
            "rows are generated and labelled as simulated."
        ),
    )
    if not lock_reason():
        # Start the reader process now, so that the first file does not wait for it.
        reader_process.warm_up()
    {"upload": _upload_form, "path": _path_form, "simulate": _simulate_form}[way]()
    if offer := st.session_state.pop("offer", None):
        _ingest(offer)
    if refused := st.session_state.get("refused"):
        _show_refusal(*refused)


def progress_callback(
    bar: DeltaGenerator, text: str, start: float = 0.0, end: float = 1.0
) -> Callable[[float], None]:
    """Return a callback for core that moves `bar` from `start` to `end`."""

    def move(share: float) -> None:
        bar.progress(min(start + (end - start) * share, 1.0), text)

    return move


def _upload_form() -> None:
    upload = upload_field("Criteo rows", UPLOAD_KEY, "upload", ACCEPTED_FORMATS, delete=True)
    if upload is None:
        st.caption(ACCEPTED_FORMATS)
        return
    path, original = upload
    _file_form(SourceFile(path, original, path.name), "add_upload", upload=True)


def _path_form() -> None:
    # A visitor of a read-only instance must not read this machine's files: their content is shown
    # here.
    if reason := lock_reason():
        st.info(reason, icon=":material/visibility:")
        return
    given = st.text_input(
        "Path on the machine that runs Thaw",
        key="path",
        placeholder="/data/criteo/train.txt.gz",
        persist_state="session",
        help="The file is read in place and not copied: for files too large to upload.",
    )
    if not given.strip():
        st.caption("For files too large to upload: they are read in place and not copied.")
        return
    with catch_errors():
        path = clean_path(given)
        _file_form(SourceFile(path, path.name, f"path-{path}"), "add_path", upload=False)


def _file_form(file: SourceFile, button: str, upload: bool) -> None:
    """Draw the detected format, the reading options and the button."""
    options = read_options_form(file)
    if options is None:
        return
    name, on_bad_rows = _name_and_bad_rows(
        name_from_file(options.member or file.original_name), f"{file.widget_key}-{options.member}"
    )
    if guarded_button("Add the sample", type="primary", icon=":material/add:", key=button):
        _ingest(PendingSample(file.path, file.original_name, name, on_bad_rows, upload, options))
    words = [*COMMAND, "ingest", file.original_name if upload else str(file.path), "--name", name]
    words += to_cli_args(options) + (["--on-bad-rows", "skip"] if on_bad_rows == "skip" else [])
    show_command(shlex.join(words))


def _simulate_form() -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        rows = st.number_input(
            "Rows",
            1_000,
            MAX_SIMULATED_ROWS,
            100_000,
            step=10_000,
            key="simulated_rows",
            width=170,
            help="Number of rows to generate. More rows give narrower intervals and longer "
            "training.",
        )
        domain = st.selectbox(
            "Domain",
            sorted(SIMULATED_DOMAINS, key=list(DOMAIN_TITLES).index),
            format_func=DOMAIN_TITLES.__getitem__,
            key="simulated_domain",
            width=260,
            help=(
                "The domain that the rows imitate. A file with both, one after the other, "
                "can be split into source and target."
            ),
        )
        recipe = st.selectbox(
            "Recipe",
            sorted(SIMULATED_RECIPES, key=list(RECIPE_TITLES).index),
            format_func=RECIPE_TITLES.__getitem__,
            key="simulated_recipe",
            width=230,
            help=RECIPE_HELP,
        )
        seed = st.number_input(
            "Seed",
            0,
            2**31 - 1,
            1,
            key="simulated_seed",
            width=130,
            help="Random seed: the same seed gives the same file.",
        )
    name = st.text_input(
        "Name of the sample",
        f"Simulated {domain}, {rows:,} rows, {recipe}, seed {seed}",
        key=f"name-{domain}-{rows}-{recipe}-{seed}",
        help=NAME_HELP,
    )
    if guarded_button("Simulate", type="primary", icon=":material/science:", key="simulate"):
        with staging(workspace().uploads) as folder:
            path = folder / f"simulated-{domain}-{rows}-{recipe}-seed-{seed}.tsv.gz"
            bar = st.progress(0.0, "Simulating rows")
            report = progress_callback(bar, "Simulating rows")
            simulate(path, rows, domain, seed, report, recipe)
            bar.empty()
            _ingest(PendingSample(path, path.name, name, "reject", is_upload=False), simulated=True)
    out = f"simulated-{domain}.tsv.gz"
    show_command(
        f"{PROGRAM} simulate --rows {rows} --domain {domain} --recipe {recipe} --seed {seed}"
        f" --out {out}\n"
        f"{PROGRAM} ingest {out} --simulated --name {shlex.quote(name)}"
    )


def _name_and_bad_rows(default: str, key: str) -> tuple[str, str]:
    """Return ``(name, what to do with bad rows)`` as entered by the user."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the sample",
            default,
            key=f"name-{key}",
            width=320,
            help=NAME_HELP,
        )
        on_bad_rows = st.segmented_control(
            "Bad rows",
            [*ON_BAD_ROWS],
            format_func=ON_BAD_ROWS.__getitem__,
            default="reject",
            required=True,
            key=f"bad-{key}",
            help=(
                "Reject: all rows are imported, or none. Skip: bad rows are left out of "
                "every result and counted."
            ),
        )
    return name, on_bad_rows or "reject"


def _ingest(offer: PendingSample, simulated: bool = False) -> None:
    """Ingest and profile the file, and select the new sample.

    If the file is refused, keep the refusal for `_show_refusal`.
    """
    bar = st.progress(0.0, "Reading rows")
    try:
        sample = ingest(
            workspace(),
            offer.path,
            offer.name,
            offer.on_bad_rows,
            progress_callback(bar, "Reading rows", 0.0, 0.7),
            simulated,
            options=offer.options,
        )
        sample = _restore_file_name(sample, offer)
        profile_columns(sample, progress_callback(bar, "Profiling the columns", 0.7, 1.0))
    except ThawError as error:
        message = str(error).replace(offer.path.name, offer.original_name)
        st.session_state.refused = (offer, message, isinstance(error, UnreadableRow))
        bar.empty()
        return
    except Exception:
        # For example a full disk: nobody would delete the copy later, and the disk would stay full.
        if offer.is_upload:
            _drop_upload(offer.path)
        raise
    _discard_refused()
    if offer.is_upload:
        _drop_upload(offer.path)
    st.session_state.choose_sample = sample.id
    st.session_state.added = sample.name
    st.rerun()


def _restore_file_name(sample: Sample, offer: PendingSample) -> Sample:
    """Return the sample with the file's own name in place of the generated name of our copy."""
    examples = tuple(
        example.replace(offer.path.name, offer.original_name) for example in sample.bad_examples
    )
    sample = dataclasses.replace(sample, source=offer.original_name, bad_examples=examples)
    save_sample(sample)
    return sample


def _show_refusal(offer: PendingSample, message: str, skippable: bool) -> None:
    """Show why the file was refused and what can be done.

    Args:
        skippable: whether the file can be read without its bad rows.
    """
    show_error(BadInput(message))
    with st.container(horizontal=True):
        if skippable and offer.path.exists():
            guarded_button(
                "Skip bad rows and try again",
                icon=":material/skip_next:",
                key="skip_bad",
                on_click=_retry_without_bad_rows,
                args=(offer,),
            )
        st.button("Dismiss", key="dismiss", on_click=_discard_refused)


def _retry_without_bad_rows(offer: PendingSample) -> None:
    st.session_state.offer = dataclasses.replace(offer, on_bad_rows="skip")
    del st.session_state["refused"]


def _discard_refused() -> None:
    """Forget a refused file, and delete it if it is our copy."""
    refused: tuple[PendingSample, str, bool] | None = st.session_state.pop("refused", None)
    if refused and refused[0].is_upload:
        _drop_upload(refused[0].path)


def _drop_upload(path: Path) -> None:
    """Delete our copy of an upload, so that another file can be chosen."""
    path.unlink(missing_ok=True)
    st.session_state.pop(UPLOAD_KEY, None)
