"""Exports of a report for other programs: a paper's files, and tidy tables."""
