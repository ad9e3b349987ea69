"""Telling other programs of finished arms: TensorBoard always, MLflow and Weights & Biases where the space says so."""
