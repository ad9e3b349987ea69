"""The settings of a distillation and what follows from them without torch: costs, addresses, columns, needed files."""
