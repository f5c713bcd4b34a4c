"""Where models and data lie: what a local folder says of itself, and fetching from the hub."""
