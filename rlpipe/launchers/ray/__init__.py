"""Jobs on a Ray cluster, each a Ray Job.

launcher     what the launcher asks for: problems, submit, statuses, cancel
cluster      asking Ray: its jobs, its nodes, handing it a job, ending one
problems     what speaks against a submission, found before it
queue        which submitted jobs Ray has, may have now, or has lost
entrypoint   the shell text of a job, and what of the submitting shell's environment it gets
task         what runs inside a job: starts the work, keeps its time limit, hands over what waited for it

Ray Jobs know no dependencies and no time limits, give up on a job that waits for resources for 15 minutes, and forget
everything with their head. So what was submitted stands in the sweep's folder, under ids of ours, and whoever looks at
the sweep (a person who watches, a job that ends) hands Ray what it may have by now: an id is taken only once.

What a user sets is `config.launchers.RayConfig`.
"""
