"""Cells of tables as text: the words for states, the spellings of levels and seeds, the formats of numbers."""
