"""Comparing runs: what they found, how sure that is, what it cost, and what to do to be surer.

`runs` finds and reads run directories, `arms` groups them, `pairing` lays examples of comparable
evaluations side by side, `crossed` has the intervals, `power` says what would settle a difference,
`compare` puts a comparison together, `tables` writes it, and `page` draws it. Nothing here imports torch.
"""
