"""Reading user input: space files (`yaml_file`), command lines, a message for each error."""
