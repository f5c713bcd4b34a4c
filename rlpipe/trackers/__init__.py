"""Where else a run's numbers are shown: Weights & Biases, TensorBoard, MLflow."""
