"""The commands of `branchwise`: the options and the main function of each, by module."""
