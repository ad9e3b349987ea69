"""The histories of metrics: how readers keep them, and which value of a history is the result of a run."""
