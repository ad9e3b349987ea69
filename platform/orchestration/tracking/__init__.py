"""Reporting of finished arms to other programs: TensorBoard always, MLflow and Weights & Biases if declared."""
