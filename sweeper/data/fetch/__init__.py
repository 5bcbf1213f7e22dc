"""Fetching: public data sets, brought here from where they are published."""

from __future__ import annotations

from sweeper.data.fetch.archive import OnArchive
from sweeper.data.fetch.inat2017 import LICENCE, MD5, URL, Fetched, Origin, fetch_inat2017, part_named

__all__ = ["LICENCE", "MD5", "URL", "Fetched", "OnArchive", "Origin", "fetch_inat2017", "part_named"]
