"""Nets with activations as feature spaces: trained here on the data set, or by others."""
