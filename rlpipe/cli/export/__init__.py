"""A run's model as a folder for the hub and for all that reads transformers models: `rlpipe export`."""
