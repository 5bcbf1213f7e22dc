"""What it will cost: a sweep's memory, time, disk and price before it starts, and what a point costs while it runs.

`plan` says what a plan holds and `make` how it comes about: `profile` counts what a phase of a trial does, without
memory or arithmetic; `measure` tries a few real steps; `predict` joins the two for any point of the space. Nothing is
imported here: `share` alone is all that some need.
"""
