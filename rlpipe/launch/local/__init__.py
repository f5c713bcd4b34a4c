"""This machine as a place to run jobs: a pool of bounded size in a process of its own.

`backend` is what the launcher and `python -m rlpipe.sweep` talk to, `pool` the process that starts the jobs and
outlives whoever asked for them, `gpus` which devices there are to hand out.
"""
