"""Weights and tokenizers: loading, chat templates, adapters, memory, saving."""
