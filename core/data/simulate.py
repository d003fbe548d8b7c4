"""Simulates Criteo files from a stated generative model; Thaw labels them *simulated* everywhere.

The model. A row has an activity g ~ N(0, 1) and belongs to a normal or an abnormal user, which
column C9 shows: its first value means normal, its second and third abnormal.

- Numeric field j: round(exp(m + s (0.6 g + 0.8 e)) - 1), e ~ N(0, 1), with m and s set by the
  field's median and 99th percentile; fields are missing together as in the real file.
- Categorical field f: a power law over its values (at most 100,000), whose exponent is set by the
  share of the most frequent value.
- The log-odds of a click are linear in one effect per categorical value (weaker in fields of many
  values), in tanh of the standardised log of each numeric field and in its absence, and in the
  inner products of latent vectors (4 dimensions) of eight pairs of fields of few values. They are
  scaled to a standard deviation of 1.9 and shifted to a click rate of 0.256 in the source domain.
  The log-odds themselves then have an AUC of about 0.86 there, and a good model about 0.79.

The target domain differs in three ways. Covariate shift: the mean activity is 0.5, and in five
fields 40 % of the values never occur in the source. Concept shift: the effects of six fields are
redrawn for half their variance. Segment: 40 % of the rows belong to abnormal users instead of 10 %;
their numeric effects are reversed in both domains, so what the source teaches little about matters
much in the target.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from core.data.schema import CATEGORICAL, LABEL, NUMERIC
from core.errors import BadInput
from core.files.outputs import check_output, write_output

_OTHER_ENDINGS = (
    *(".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"),
    *(".parquet", ".feather", ".arrow"),
)
"""Of names that promise a format which simulated rows are not written in."""
SIMULATED_DOMAINS = ("source", "target", "both")
SOURCE_SHARE = 0.6
"""Share of source rows, which come first, in a file with both domains."""
CLICK_RATE = 0.256
CHUNK_ROWS = 50_000
"""Number of rows drawn at once. It is part of the model: another number gives other rows."""
_CALIBRATION_ROWS = 20_000
_LOGIT_STD = 1.9
_MAX_VALUES = 100_000
_LATENT_DIMENSIONS = 4
_ABNORMAL_SHARE = {"source": 0.1, "target": 0.4}
_MEAN_ACTIVITY = {"source": 0.0, "target": 0.5}

# Facts about Kaggle's train.txt, in the order of the fields.
_MEDIAN_P99 = (
    (1, 39), (3, 2234), (6, 216), (4, 41), (2796, 345908), (32, 1323), (3, 219), (7, 48),
    (39, 1003), (1, 3), (1, 26), (0, 19), (4, 49),
)  # fmt: skip
_CARDINALITIES = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992,
    5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
_TOP_VALUE_SHARES = {
    "C1": 0.50, "C3": 0.025, "C5": 0.67, "C8": 0.59, "C10": 0.22, "C12": 0.025, "C14": 0.35,
    "C16": 0.025, "C17": 0.46, "C21": 0.025, "C23": 0.44,
}  # fmt: skip
_DEFAULT_TOP_VALUE_SHARE = 0.12
_MISSING_GROUPS = (
    (("I1", "I10"), 0.45),
    (("I3",), 0.21),
    (("I4", "I13"), 0.22),
    (("I5",), 0.026),
    (("I6",), 0.22),
    (("I7", "I9", "I11"), 0.043),
    (("I12",), 0.765),
    (("C3", "C4", "C12", "C16", "C21", "C24"), 0.034),
    (("C6",), 0.12),
    (("C19", "C20", "C25", "C26"), 0.44),
    (("C22",), 0.76),
)
"""Fields that are missing together, and how often."""
_INTERACTIONS = (
    ("C1", "C17"), ("C5", "C14"), ("C5", "C23"), ("C6", "C8"), ("C9", "C17"), ("C14", "C22"),
    ("C17", "C23"), ("C20", "C25"),
)  # fmt: skip
_FEW_VALUES = 1000
"""Fields of fewer values have stronger effects."""
_FIELDS_WITH_NEW_VALUES = ("C3", "C4", "C10", "C15", "C24")
_NEW_VALUE_SHARE = 0.4
_FIELDS_WITH_NEW_EFFECTS = ("C1", "C2", "C6", "C8", "C14", "C17")


def simulate(
    path: Path,
    rows: int,
    domain: str = "source",
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write simulated rows in the form of Kaggle's train.txt, gzipped if the name ends in .gz.

    The same arguments write the same bytes.

    Args:
        path: the file to write.
        rows: number of rows.
        domain: "source", "target", or "both" (60 % source rows, then 40 % target rows).
        seed: of the rows; the model that generates them is always the same.
        progress: called with 0 to 1.

    Raises:
        BadInput: an argument has no valid value, or the name ends as those of another format do.
    """
    ending = next((one for one in _OTHER_ENDINGS if path.name.lower().endswith(one)), "")
    if ending:
        raise BadInput(
            f"The output {str(path)!r} ends in {ending}, but simulated rows are written as text, "
            "or gzipped for a name that ends in .gz; name it .tsv or .tsv.gz."
        )
    if seed < 0:
        raise BadInput(f"The seed is {seed!r}; it must be 0 or more.")
    check_output(path)
    if rows < 1:
        raise BadInput(f"The number of rows is {rows!r}; it must be at least 1.")
    if domain not in SIMULATED_DOMAINS:
        raise BadInput(f"The domain is {domain!r}; choose one of {list(SIMULATED_DOMAINS)}.")
    source_rows = {"source": rows, "target": 0, "both": round(rows * SOURCE_SHARE)}[domain]
    generator = np.random.default_rng([seed, 20_140])
    model = _GenerativeModel()
    report = progress or (lambda share: None)

    def write(new_path: Path) -> None:
        with _open(new_path, packed=path.name.endswith(".gz")) as stream:
            done = 0
            while done < rows:
                in_source = done < source_rows
                count = min(CHUNK_ROWS, (source_rows if in_source else rows) - done)
                table = model.sample_rows(generator, count, "source" if in_source else "target")
                options = pyarrow.csv.WriteOptions(
                    include_header=False, delimiter="\t", quoting_style="none"
                )
                pyarrow.csv.write_csv(table, pa.PythonFile(stream, "w"), options)
                done += count
                report(done / rows)

    write_output(path, write)


def _open(path: Path, packed: bool):  # type: ignore[no-untyped-def]
    if not packed:
        return path.open("wb")
    # Without time stamp and name in the header the same rows give the same bytes.
    return gzip.GzipFile(filename="", fileobj=path.open("wb"), mode="wb", mtime=0, compresslevel=4)


class _GenerativeModel:
    """The generative model; all its constants are drawn from fixed seeds."""

    def __init__(self) -> None:
        self._cumulative = {
            name: _power_law_cdf(name, values)
            for name, values in zip(CATEGORICAL, _CARDINALITIES, strict=True)
        }
        # Neutral while the calibration rows are drawn, which then determine both.
        self._scale, self._shift = 1.0, 0.0
        raw = self._log_odds(
            *self._features(np.random.default_rng(7), _CALIBRATION_ROWS, "source"), "source"
        )
        self._scale = _LOGIT_STD / raw.std()
        scaled = raw * self._scale
        self._shift = brentq(lambda shift: expit(scaled + shift).mean() - CLICK_RATE, -20, 20)

    def sample_rows(self, generator: np.random.Generator, rows: int, domain: str) -> pa.Table:
        """Draw rows: a label int8, numerics int64, categories of 8 hex digits."""
        numbers, values = self._features(generator, rows, domain)
        odds = self._log_odds(numbers, values, domain)
        labels = (generator.random(rows) < expit(odds)).astype(np.int8)
        columns = {LABEL: pa.array(labels)}
        for name in NUMERIC:
            present = ~np.isnan(numbers[name])
            columns[name] = pa.array(
                np.where(present, numbers[name], 0).astype(np.int64), mask=~present
            )
        for name in CATEGORICAL:
            columns[name] = _to_hex(name, values[name])
        return pa.table(columns)

    def _features(
        self, generator: np.random.Generator, rows: int, domain: str
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return (numerics, float64 with NaN; categorical ranks, int64 with -1 for missing)."""
        activity = generator.normal(_MEAN_ACTIVITY[domain], 1, rows)
        numbers = {}
        for name, (median, p99) in zip(NUMERIC, _MEDIAN_P99, strict=True):
            mean, spread = _log_normal_parameters(median, p99)
            noise = 0.6 * activity + 0.8 * generator.normal(0, 1, rows)
            numbers[name] = np.maximum(np.round(np.exp(mean + spread * noise) - 1), 0)
        negative = generator.random(rows) < 0.1
        numbers["I2"] = np.where(
            negative, -generator.choice([1, 2, 3], rows, p=[0.8, 0.15, 0.05]), numbers["I2"]
        )
        values = {
            name: np.searchsorted(self._cumulative[name], generator.random(rows))
            for name in CATEGORICAL
        }
        abnormal = generator.random(rows) < _ABNORMAL_SHARE[domain]
        values["C9"] = np.where(abnormal, 1 + (generator.random(rows) < 0.3), 0)
        if domain == "target":
            for name in _FIELDS_WITH_NEW_VALUES:
                values[name] = np.where(
                    generator.random(rows) < _NEW_VALUE_SHARE,
                    values[name] + _MAX_VALUES,
                    values[name],
                )
        for names, share in _MISSING_GROUPS:
            missing = generator.random(rows) < share
            for name in names:
                if name in numbers:
                    numbers[name] = np.where(missing, np.nan, numbers[name])
                else:
                    values[name] = np.where(missing, -1, values[name])
        return numbers, values

    def _log_odds(
        self, numbers: dict[str, np.ndarray], values: dict[str, np.ndarray], domain: str
    ) -> np.ndarray:
        odds = np.zeros(len(values["C9"]))
        for i, (name, (median, p99)) in enumerate(zip(NUMERIC, _MEDIAN_P99, strict=True)):
            mean, spread = _log_normal_parameters(median, p99)
            standard = (np.log1p(np.maximum(numbers[name], 0)) - mean) / spread
            weight = (0.5 + 0.5 * (i % 3)) * (-1) ** i
            odds += np.where(
                np.isnan(standard), 0.3 * (-1) ** i, weight * np.tanh(np.nan_to_num(standard))
            )
        odds *= np.where(values["C9"] == 0, 0.7, -0.7)
        for name in CATEGORICAL:
            effect = _hashed_normal(name, values[name], 0)
            if domain == "target" and name in _FIELDS_WITH_NEW_EFFECTS:
                effect = (effect + _hashed_normal(name, values[name], 1)) * 0.5**0.5
            odds += (0.8 if len(self._cumulative[name]) < _FEW_VALUES else 0.25) * effect
        for left, right in _INTERACTIONS:
            for dimension in range(2, 2 + _LATENT_DIMENSIONS):
                odds += (
                    0.4
                    * _hashed_normal(left, values[left], dimension)
                    * _hashed_normal(right, values[right], dimension)
                )
        return odds * self._scale + self._shift


def _log_normal_parameters(median: float, p99: float) -> tuple[float, float]:
    """Return mean and standard deviation of ln(1 + x)."""
    mean = float(np.log1p(median))
    return mean, float((np.log1p(p99) - mean) / ndtri(0.99))


def _power_law_cdf(name: str, values: int) -> np.ndarray:
    """Return the cumulative distribution of ranks.

    The first rank has the share of the field's most frequent value, but at least 1.3 / n_values.
    """
    count = min(values, _MAX_VALUES)
    share = max(_TOP_VALUE_SHARES.get(name, _DEFAULT_TOP_VALUE_SHARE), 1.3 / count)
    logs = np.log(np.arange(1, count + 1))
    exponent = brentq(lambda s: 1 / np.exp(-s * logs).sum() - share, 0.0, 8.0, xtol=1e-4)
    weights = np.exp(-exponent * logs)
    return np.cumsum(weights / weights.sum())[:-1]


def _splitmix64(name: str, values: np.ndarray, stream: int) -> np.ndarray:
    """Return 64 mixed bits per value (SplitMix64, Steele et al. 2014), the same anywhere."""
    start = (CATEGORICAL.index(name) * 64 + stream + 1) * 0x9E3779B97F4A7C15 % 2**64
    bits = values.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


def _hashed_normal(name: str, values: np.ndarray, stream: int) -> np.ndarray:
    """Return a standard normal number per value, always the same; 0 for a missing value."""
    uniform = (_splitmix64(name, values, stream) >> np.uint64(11)).astype(np.float64) / 2**53
    return np.where(values < 0, 0.0, ndtri(np.clip(uniform, 1e-12, 1 - 1e-12)))


def _to_hex(name: str, values: np.ndarray) -> pa.Array:
    """Return 8 hex digits per rank, null for a missing value."""
    distinct, indices = np.unique(values, return_inverse=True)
    texts = [format(int(bits) & 0xFFFFFFFF, "08x") for bits in _splitmix64(name, distinct, 40)]
    return pa.array(np.array(texts, dtype=object)[indices], pa.string(), mask=values < 0)
