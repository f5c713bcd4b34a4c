"""What runs and sweeps leave on disk: manifests, results, checkpoints, and who may write."""
