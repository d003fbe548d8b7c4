"""The section of a report that says what to do, on what that rests, and what would settle it."""

from collections.abc import Sequence

from core.evaluation.format_metrics import format_metric
from core.evaluation.non_inferiority import MetricLoss
from core.evaluation.recommendation import Candidate, Recommendation
from core.evaluation.recommendation_words import headline, method_sentence, notes, outcome_words
from core.report.html_page import Cell, Html, bullet_list, heading, paragraph, plot, table
from core.report.power_figures import power_figure
from core.report.provenance_sections import capitalise

COLUMNS = (
    "Arm", "Result", "Against", "AUC lost at most", "Log loss lost at most", "Trained parameters",
    "Seconds", "Epochs",
)  # fmt: skip
HEIGHT = 300


def recommendation_section(found: Sequence[Recommendation]) -> list[Html]:
    """Return the section's body, one part for each setting."""
    parts: list[Html] = []
    for one in found:
        if len(found) > 1:
            parts.append(heading(capitalise(one.setting)))
        parts.append(paragraph(headline(one), "recommendation"))
        if words := notes(one):
            parts.append(bullet_list(words))
        if one.candidates:
            rows = [row for candidate in one.candidates for row in _rows(candidate)]
            parts.append(table(COLUMNS, rows))
        if power := one.power:
            title = f"Power to settle {power.arm} against {power.reference}"
            parts.append(plot(power_figure(power, "rows"), f"{title}, by test rows", HEIGHT))
            if power.by_seeds:
                parts.append(plot(power_figure(power, "seeds"), f"{title}, by seeds", HEIGHT))
        margins = f"Margins: {one.margins.words}. "
        parts.append(paragraph(margins + method_sentence(one), "quiet"))
    return parts


def _rows(one: Candidate) -> list[list[Cell]]:
    cost = one.arm.cost
    costs: list[Cell] = [
        cost.trained_parameters, format_metric(cost.seconds, 1), format_metric(cost.epochs, 1)
    ]  # fmt: skip
    start: list[Cell] = [one.arm.title, outcome_words(one)]
    claims: list[list[Cell]] = [
        [claim.reference, _bound(claim.auc), _bound(claim.log_loss)] for claim in one.claims
    ]
    return [[*start, *claim, *costs] for claim in claims or [[None, None, None]]]


def _bound(loss: MetricLoss) -> str:
    return f"{format_metric(loss.at_most, 5, signed=True)} of {format_metric(loss.margin, 5)}"
