"""What a run folder holds and how its files are checked: names, seals and schemas, for writers and readers alike.

The lowest package: it imports neither Ray nor torch nor pandas, and nothing else of this project.
"""
