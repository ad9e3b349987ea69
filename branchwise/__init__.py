"""Which part of the method did it? The packages of this project under one import name."""
