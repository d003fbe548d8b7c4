"""Labels of points: none covers another, and none is cut off at an edge."""

import numpy as np

from core.report.label_positions import label_positions


def test_the_higher_of_two_neighbours_is_named_and_edges_point_inwards() -> None:
    x, y = np.array([0.0, 0.05, 0.5, 1.0, 0.02]), np.array([0.9, 0.91, 0.92, 1.0, 0.1])
    assert label_positions(x, y, [0, 1, 2, 3, 4]) == {
        3: "top left",
        2: "top center",
        1: "top right",
        4: "top right",
    }
    assert label_positions(x, y, [0]) == {0: "top right"}
    assert label_positions(np.array([2.0]), np.array([1.0]), [0]) == {0: "top center"}
    assert label_positions(np.zeros(0), np.zeros(0), []) == {}
