"""Comparing runs: what they found, how sure that is, what it cost, and what to do to be surer.

`runs` finds and reads run directories, `arms` groups them, `pairing` lays examples of comparable
evaluations side by side, `estimate` and its neighbours do the statistics, `compare` puts a comparison
together, `tables` writes it, and `page` draws it. Nothing here imports torch.
"""
