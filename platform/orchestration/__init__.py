"""From a space file to finished arms: design, packing, Ray, results. Knows nothing of what a trainable trains."""
