"""The launcher: what happens between `-m` and the arms' runs.

rehearse (compose and check every arm) → plan (show what will be built, run and spent) → freeze (write each job's
work down, so that nothing is composed again) → submit (to a backend: the local pool, or SLURM) → watch

`launcher` is what Hydra calls and the order of these steps; `hydra_plugin` makes it known to Hydra; `job` is a frozen
job and what runs it where it lands; `backend` is what a place that runs jobs must offer (`local`, `slurm`). The
sweep that results is `rlpipe.sweep`'s.
"""
