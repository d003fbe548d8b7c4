"""Take the package's dependencies and extras from the requirements files, which pin them."""

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

EXTRAS = ("keras", "signin", "distributed", "dev")


def read_requirements(path: Path) -> list[str]:
    """Return the requirements of a file, without comments and included files (`-r`)."""
    lines = (
        line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()
    )
    return [line for line in lines if line and not line.startswith("-")]


class RequirementsHook(MetadataHookInterface):
    """Hatchling's hook for the fields that pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fills in `dependencies` and `optional-dependencies`."""
        root = Path(self.root)
        metadata["dependencies"] = read_requirements(root / "requirements.txt")
        extras = {extra: read_requirements(root / f"requirements-{extra}.txt") for extra in EXTRAS}
        # The tests cover what is optional too.
        extras["dev"] = [requirement for extra in EXTRAS for requirement in extras[extra]]
        metadata["optional-dependencies"] = extras
