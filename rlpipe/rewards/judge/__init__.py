"""Asking a chat model how good a text is, or which of two is better, over an OpenAI-compatible endpoint."""
