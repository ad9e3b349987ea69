"""From a space file to a table of results, on Ray. Independent of what a trainable trains.

A space passes each room once, from `input` (YAML, command lines) to `designs` and `space.py` (what is requested),
`run_folder` (what is kept), `tuning` (what a search suggests), `planning` (cohorts, time), `monitoring` (what is shown)
and `execution` (Ray). Imports point from later rooms to earlier ones.
"""
