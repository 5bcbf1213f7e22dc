"""How a tracking server can fail: it is away, and will be back, or it refuses this one request."""

from __future__ import annotations

from sweeper.errors import TrackingError


class ServerAway(TrackingError):
    """No answer, or one that says to come back later; the same request may succeed then."""


class RequestRefused(TrackingError):
    """The server is there and will not take this request, today or later."""
