"""Nets whose activations are feature spaces: trained here on the data set itself, or by others."""
