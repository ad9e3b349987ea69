"""Reports of finished arms to trackers: TensorBoard always, MLflow and W&B if declared."""
