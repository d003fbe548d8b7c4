"""Lines over windows stand at the window that tests, or that trained, in their bands."""

import numpy as np

from core.report.rolling_figures import rolling_figure
from core.runs.rolling_result import RollingLine, WindowPoint

NAN = float("nan")
LINES = (
    RollingLine(
        "full fine-tuning",
        (WindowPoint(1, 0.71, 0.70, 0.72, 3), WindowPoint(2, 0.72, 0.71, 0.73, 3)),
    ),
    RollingLine("zero-shot", (WindowPoint(1, 0.68, 0.67, 0.69, 1),)),
    RollingLine("LoRA", (WindowPoint(2, 0.70, NAN, NAN, 1),)),
)


def test_a_model_of_a_window_stands_at_the_window_that_tests_it() -> None:
    figure = rolling_figure(LINES, 5)
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert [*lines] == [line.title for line in LINES]
    assert [*lines["full fine-tuning"].x] == [2, 3]
    assert [*lines["full fine-tuning"].y] == [0.71, 0.72]
    assert "0.7100, 95 % 0.7000 to 0.7200, 3 seeds" in lines["full fine-tuning"].text[0]
    # The axis has room for windows that are not tested yet.
    assert [*figure.layout.xaxis.tickvals] == [2, 3, 4, 5]
    bands = [trace for trace in figure.data if not trace.name]
    assert len(bands) == 1 and [*bands[0].y] == [0.72, 0.73, 0.71, 0.70]
    # A single window has an interval in place of a band; what has none has neither.
    np.testing.assert_allclose(lines["zero-shot"].error_y.array, [0.01])
    np.testing.assert_allclose(lines["zero-shot"].error_y.arrayminus, [0.01])
    assert lines["LoRA"].error_y.array is None


def test_forgetting_stands_at_the_window_that_trained() -> None:
    figure = rolling_figure(LINES[:1], 5, "auc", "source_test")
    assert [*figure.data[-1].x] == [1, 2] and [*figure.layout.xaxis.tickvals] == [1, 2, 3, 4]
    assert "+0.7100" in figure.data[-1].text[0]
    assert figure.layout.yaxis.title.text == "AUC: change from the backbone"
    earlier = rolling_figure((), 5, "auc", "earlier_windows")
    assert "window 2" in earlier.layout.annotations[0].text
