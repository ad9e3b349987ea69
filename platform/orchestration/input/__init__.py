"""Reading what a user writes: space files (`yaml_file`), command lines, and a message for each error."""
