"""Declared looks: exact levels of repeated tests, sequential p-values, and what a look decides."""
