"""What rlpipe costs beside others on the same work: `python -m benchmarks`."""
