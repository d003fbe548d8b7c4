"""Calibration of a finished run: what every method does, and which one is used."""

import pandas as pd
import streamlit as st

from core.evaluation.calibration import calibration_of_metrics
from core.evaluation.calibration_effect import CalibrationEffect, measure_effect
from core.evaluation.curves import calibration_curve
from core.evaluation.format_metrics import format_with_bounds
from core.evaluation.recalibration import NONE, TITLES, RecalibrationMap
from core.inference.run_calibration import (
    RunCalibration,
    calibration_command,
    has_scores,
    load_calibration,
    use_calibration,
)
from core.jobs.predictions import PREDICTIONS_FILE
from core.jobs.store import Run
from core.report.calibration_figures import reliability_figure
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import show_command, workspace
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.run_predictions import (
    PART_TITLES,
    cached_predictions,
    load_predictions,
)

ABOUT = (
    "A recalibrated probability keeps the order of the rows and brings predicted clicks closer to"
    " actual ones. The maps are fitted on validation rows, and one is chosen there by"
    " cross-validation; test rows only show what it does. Scoring, export and blends have the"
    " probabilities that are used here."
)


def show_calibration_note(run: Run) -> None:
    """Warn where the interval of predicted over actual clicks on target test rows excludes 1."""
    metrics = run.result.metrics.get("target_test") if run.result else None
    if sentence := calibration_of_metrics(metrics).ratio_sentence:
        st.info(
            f"On target test rows: {sentence} [Calibration](#calibration) shows what recalibration"
            " can do.",
            icon=":material/balance:",
        )


def calibration_section(run: Run) -> None:
    """Draw the section, for a run that scores clicks."""
    if not has_scores(run):
        return
    st.subheader("Calibration", anchor="calibration")
    st.caption(ABOUT)
    st.fragment(catch_errors_in(_calibration_view))(run)


def _calibration_view(run: Run) -> None:
    with catch_errors():
        found = load_calibration(workspace(), run)
        arrays = load_predictions(run)
        parts = [part for part in PART_TITLES if len(arrays.get(f"{part}_label", ()))]
        if not parts:
            st.caption("The run scored no test rows, so there is nothing to show.")
            return
        _show_state(found)
        columns = st.columns([2, 3], vertical_alignment="bottom")
        part = columns[0].segmented_control(
            "Rows",
            parts,
            format_func=PART_TITLES.__getitem__,
            default=parts[0],
            required=True,
            key=f"calibration-part-{run.id}",
            help="The test rows used for the numbers and the figure below. It changes no score.",
        )
        methods = [fit.map.method for fit in found.recalibration.fits]
        default = found.used if found.used != NONE else found.recalibration.chosen
        method = columns[1].segmented_control(
            "Method",
            methods,
            format_func=lambda name: TITLES[name].capitalize(),
            default=default,
            required=True,
            key=f"calibration-method-{run.id}",
            help="The map that is shown. It is used once you press the button below.",
        )
        effects = {name: _effect(run, part, found.find(name).map) for name in methods}
        _show_table(found, effects)
        _show_effect(run, part, effects[method])
        _use_buttons(run, found, method)
        show_command(calibration_command(run, method))


def _show_state(found: RunCalibration) -> None:
    used = found.find(found.used).map
    badge = ":gray-badge[as trained]"
    if used.method != NONE:
        badge = f":green-badge[:material/check_circle: {TITLES[used.method]}]"
    st.markdown(f"Probabilities in use: {badge}  \n{found.choice_sentence}")


def _show_table(found: RunCalibration, effects: dict[str, CalibrationEffect]) -> None:
    rows = []
    for fit in found.recalibration.fits:
        effect = effects[fit.map.method]
        after, change = effect.after, effect.change
        name = TITLES[fit.map.method].capitalize()
        is_chosen = fit.map.method == found.recalibration.chosen
        rows.append(
            {
                "Method": f"{name} · chosen" if is_chosen else name,
                "Validation log loss": fit.loss,
                "Test log loss": effect.log_loss_after,
                "Change (95 %)": ""
                if fit.map.method == NONE
                else format_with_bounds(change.value, change.low, change.high, signed=True),
                "ECE": after.ece,
                "ECE by chance, up to": after.floor_high,
                "Predicted / actual": format_with_bounds(
                    after.ratio, after.ratio_low, after.ratio_high, 3
                ),
                "AUC": effect.auc_after,
            }
        )
    number = st.column_config.NumberColumn(format="%.4f")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        width="stretch",
        height="content",
        placeholder="–",
        alt="What every calibration method does on test rows",
        column_config={
            "Method": st.column_config.TextColumn(pinned=True),
            "Validation log loss": st.column_config.NumberColumn(
                format="%.4f", help="Cross-validated: of rows that the map was not fitted on."
            ),
            "Test log loss": number,
            "Change (95 %)": st.column_config.TextColumn(
                help="Log loss minus that as trained, paired over the test rows; below 0 is better."
            ),
            "ECE": number,
            "ECE by chance, up to": st.column_config.NumberColumn(
                format="%.4f",
                help="95 % of samples of a perfectly calibrated model have an ECE below this.",
            ),
            "AUC": number,
        },
    )


def _show_effect(run: Run, part: str, effect: CalibrationEffect) -> None:
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="center")
    arrays = load_predictions(run)
    labels, scores = arrays[f"{part}_label"], arrays[f"{part}_score"]
    bins = {"as trained": calibration_curve(labels, scores)}
    title = TITLES[effect.calibration.method]
    if effect.calibration.method != NONE:
        bins[title] = calibration_curve(labels, effect.calibration.apply(scores))
    with left:
        alt = f"Click rate by mean score on {PART_TITLES[part].lower()}, as trained and {title}"
        chart(reliability_figure(bins), f"reliability-{run.id}", 360, alt)
    with right:
        for sentence in (effect.sentence, effect.auc_sentence, effect.after.sentence):
            if sentence:
                st.markdown(sentence)
        st.caption(
            "Bins of equally many rows, with Wilson's 95 % intervals; on the diagonal a probability"
            " is the click rate of the rows that have it."
        )


def _use_buttons(run: Run, found: RunCalibration, method: str) -> None:
    used = found.used == method
    label = f"Use {TITLES[method]}" if method != NONE else "Use probabilities as trained"
    if guarded_button(
        "In use" if used else label,
        key=f"calibrate_{run.id}",
        icon=":material/balance:",
        disabled=used,
        type="secondary",
        help="Scoring, export and new blends have these probabilities from then on.",
    ):
        use_calibration(workspace(), run, method)
        st.rerun()


def _effect(run: Run, part: str, calibration: RecalibrationMap) -> CalibrationEffect:
    load_predictions(run)
    path = workspace().runs / run.id / PREDICTIONS_FILE
    return _cached_effect(
        str(path), path.stat().st_mtime_ns, path.stat().st_size, part, calibration
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _cached_effect(
    path: str, modified: int, size: int, part: str, calibration: RecalibrationMap
) -> CalibrationEffect:
    arrays = cached_predictions(path, modified, size)
    return measure_effect(arrays[f"{part}_label"], arrays[f"{part}_score"], calibration)
