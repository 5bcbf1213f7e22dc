"""What all sections of a report have in common."""

from __future__ import annotations

import base64

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """A frozen part of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")


class Section(Value):
    """One section."""

    nothing: str = ""
    """One sentence on why there is nothing to show; empty where there is something."""


class Photo(Value):
    """A small image inside the page."""

    caption: str
    """What it shows, also for those who cannot see it."""
    webp: bytes = Field(exclude=True, repr=False)
    """The file's content; left out of a report's JSON."""

    @property
    def uri(self) -> str:
        """The image as a `data:` URI."""
        return f"data:image/webp;base64,{base64.b64encode(self.webp).decode('ascii')}"
