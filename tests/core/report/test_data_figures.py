"""The figures of a sample and its parts."""

import numpy as np
import pytest
from scipy.stats import binomtest

from core.data.split import PartSummary
from core.report.data_figures import parts_figure, wilson_interval


@pytest.mark.parametrize(
    ("clicks", "rows"), [(0, 4), (1, 4), (3, 5), (17, 40), (4, 4), (256, 1000)]
)
def test_the_interval_of_a_rate_equals_scipys(clicks: int, rows: int) -> None:
    low, high = wilson_interval(np.array([clicks / rows]), np.array([rows]))
    wanted = binomtest(clicks, rows).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((wanted.low, wanted.high), abs=1e-4)


def test_no_click_rate_of_a_small_part_is_drawn_below_zero() -> None:
    parts = [PartSummary("source_train", 100, 20), PartSummary("target_validation", 4, 1)]
    dots = parts_figure(parts).data[1]
    assert (dots.x - dots.error_x.arrayminus >= 0).all() and (
        dots.x + dots.error_x.array <= 1
    ).all()
