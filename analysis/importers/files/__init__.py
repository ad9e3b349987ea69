"""Files that any program may write: a module for each format, with a `Reader` where a file is a table of runs."""
