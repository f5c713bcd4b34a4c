"""What runs inside vLLM's own process, in an environment that need not have rlpipe: `rlpipe_vllm.py` stands alone."""
