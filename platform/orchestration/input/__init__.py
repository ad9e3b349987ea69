"""Reading what a user writes: space files (`yaml_file`), command lines, and one message for each error."""
