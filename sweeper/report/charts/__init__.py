"""Drawings of a report: each file turns one or two sections into SVG, wide and narrow."""
