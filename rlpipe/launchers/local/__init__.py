"""This machine as a place to run jobs: a pool of bounded size in a process of its own.

`launcher` is what a sweep talks to, `pool` the process that starts the jobs and outlives whoever asked for them,
`process` one job and the devices that there are to hand out.
"""
