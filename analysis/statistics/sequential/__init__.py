"""Declared looks: exact levels of repeated tests, sequential p-values, decisions at a look."""
