"""The launcher: what happens between `-m` and the arms' runs.

rehearse (compose and check every arm) → plan (show what will be built, run and spent) → freeze (write each job's
work down, so that nothing is composed again) → submit (to a backend: the local pool, or SLURM) → watch

`hydra_plugin` makes it known to Hydra, `job` runs a frozen job where it lands, `backend` is what a place
that runs jobs must offer. The sweep that results is `rlpipe.sweep`'s.
"""
