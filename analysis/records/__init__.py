"""Reading run folders: `folder.load_run` is the door; `outline` has what was planned, `comparing` what compares."""
