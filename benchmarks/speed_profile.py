"""Where an epoch goes: `python -m benchmarks.speed_profile` writes its section of performance.md.

torch's profiler over the epoch that benchmarks.speed_training times, for each model and table size.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.page_section import put_section
from benchmarks.speed_training import PAGE, SETTINGS, TITLES, Prepared, our_epoch, prepare
from benchmarks.timing import machine

HEADING = "Where an epoch goes"
PRODUCTS = ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
LOOK_UPS = ("aten::embedding_backward", "aten::index_select_backward")
"""Their gradients; a look-up itself is an operation that the optimiser uses too."""
OPTIMISER = "Optimizer.step#LazyAdamW.step"
ACTIVATIONS = (
    "aten::relu",
    "aten::threshold_backward",
    "aten::mul",
    "aten::add",
    "aten::sum",
    "aten::pow",
    "aten::cat",
)


def shares(model: str, prepared: Prepared, folder: Path) -> dict[str, float]:
    """Return the shares of processor time that torch's operations took.

    What runs inside an optimiser's step counts as the optimiser's.
    """
    with profile(activities=[ProfilerActivity.CPU]) as found:
        our_epoch(model, prepared, folder, [])
    # Named ranges, such as the optimiser's step, hold operations that are listed by themselves too.
    events = {event.key: event for event in found.key_averages()}
    whole = sum(event.self_cpu_time_total for event in events.values())

    def of(names: tuple[str, ...], inside: bool) -> float:
        kind = "cpu_time_total" if inside else "self_cpu_time_total"
        return sum(getattr(events[name], kind) for name in names if name in events) / whole

    return {
        "matrix products": of(PRODUCTS, inside=False),
        "gradient of look-ups": of(LOOK_UPS, inside=True),
        "optimiser": of((OPTIMISER,), inside=True),
        "activations, sums and joins": of(ACTIVATIONS, inside=False),
    }


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    lines: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for many in (False, True):
            prepared = prepare(folder, options.rows, many)
            for model in SETTINGS:
                found = shares(model, prepared, folder)
                found["the rest: look-ups, gathering batches, checkpoint, validation"] = 1 - sum(
                    found.values()
                )
                if not lines:
                    lines = [
                        f"| model | ids | {' | '.join(found)} |",
                        "|---" * (len(found) + 2) + "|",
                    ]
                cells = [
                    TITLES[model],
                    f"{sum(prepared.field_sizes):,}",
                    *(f"{share:.0%}" for share in found.values()),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    today = time.strftime("%Y-%m-%d")
    text = [
        (
            f"Made by `python -m benchmarks.speed_profile` on {today} ({machine()};"
            f" {torch.get_num_threads()} threads)."
        ),
        "",
        (
            f"Shares of the time of an epoch over {options.rows:,} rows in float32, from torch's"
            " profiler. Expected: most of it matrix products, which nothing but fewer operations"
            " or bfloat16 makes faster."
        ),
        "",
        *lines,
    ]
    put_section(options.out, HEADING, "\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
