"""Files of a run folder and their names, seals and schemas, for writers and readers.

The lowest package: it imports neither Ray nor torch nor pandas, and no other package of this project.
"""
