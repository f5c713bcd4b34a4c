"""Sweeps: the runs under one folder, as an object that can be listed, watched, resumed, extended and cancelled.

`folder` is what the folder holds, `states` what became of each job, `table` how that is shown, and
`python -m rlpipe.sweep DIR …` the commands. How jobs get to run is `rlpipe.launch`'s business.
"""
