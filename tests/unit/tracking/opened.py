"""Opens a registered folder as a model that names the file in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class _Named:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        (file,) = self._folder.iterdir()
        return [{"label": file.name, "probability": 1.0, "guesses": []} for _ in range(len(model_input))]


def _load_pyfunc(path: str) -> _Named:
    return _Named(Path(path))
