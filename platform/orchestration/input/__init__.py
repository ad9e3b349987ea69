"""Reading what a user writes: space files (`yaml_file`), command lines, and one sentence for what is wrong."""
