"""What a reader must know of the numbers: where the noise is from, what is missing, what the design cannot tell."""
