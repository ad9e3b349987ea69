"""Cells of tables as text: the names of states, the spellings of levels and seeds, the formats of numbers."""
