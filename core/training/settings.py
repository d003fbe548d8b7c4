"""Fixed training settings by name."""

from core.jobs.requests import TrainSettings

PRESETS: dict[str, TrainSettings] = {
    "fast": TrainSettings(),
    "small": TrainSettings(epochs=10, batch_size=256, learning_rate=3e-4, early_stopping=2),
    "article": TrainSettings(epochs=10, batch_size=32, early_stopping=0, plateau=0),
    "map": TrainSettings(
        epochs=20, batch_size=256, early_stopping=0, plateau=0, weight_decay=5e-2, cosine=True
    ),
}
"""Fixed settings by name. What the default is, one of them or others, is decided by
core.training.default_settings alone."""
