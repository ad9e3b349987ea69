"""Cells of tables as text: names of states, spellings of levels and seeds, number formats."""
