"""Talking to a trained model in the terminal: `python -m rlpipe.chat RUN`."""
