"""Calibration as a torch module, so that it is part of an exported ONNX model."""

import numpy as np
import torch
from torch import Tensor, nn

from core.evaluation.metric_functions import PROBABILITY_EPSILON
from core.evaluation.recalibration import RecalibrationMap


class CalibrationModule(nn.Module):
    """`RecalibrationMap.apply`, with the same numbers to float32 rounding.

    Computes in float64: near 0 and 1 the logit of a float32 probability needs it.

    Args:
        calibration: a map other than that of the method "none".

    **Shape**: probabilities, float32 ``(rows,)``, to calibrated ones of the same shape.
    """

    starts: Tensor
    widths: Tensor
    slopes: Tensor

    def __init__(self, calibration: RecalibrationMap) -> None:
        super().__init__()
        self.slope, self.intercept = calibration.slope, calibration.intercept
        self.is_isotonic = calibration.method == "isotonic"
        knots, values = np.array(calibration.knots), np.array(calibration.values)
        widths = np.diff(knots)
        # [n_knots - 1]
        self.register_buffer("starts", torch.from_numpy(knots[:-1].copy()))
        self.register_buffer("widths", torch.from_numpy(widths))
        self.register_buffer("slopes", torch.from_numpy(np.diff(values) / widths))
        self.first = float(values[0]) if len(values) else 0.0

    def forward(self, scores: Tensor) -> Tensor:
        """Return the calibrated probabilities."""
        scores = scores.double()
        if not self.is_isotonic:
            clipped = scores.clamp(PROBABILITY_EPSILON, 1 - PROBABILITY_EPSILON)
            logits = torch.log(clipped / (1 - clipped))
            return torch.sigmoid(self.slope * logits + self.intercept).float()
        # How far each score has come in each piece, from 0 to the piece's width. ONNX has no
        # search in a sorted list, so that every piece is looked at. [rows, n_knots - 1]
        covered = torch.minimum((scores[:, None] - self.starts).clamp(min=0.0), self.widths)
        return (self.first + (covered * self.slopes).sum(dim=1)).float()
