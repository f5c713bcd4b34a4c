"""Jobs on a SLURM cluster.

launcher    what the launcher asks for: problems, submit, statuses, cancel
command     asking SLURM's commands, queueing a job again
cluster     what SLURM says of itself: partitions, nodes, limits
problems    what speaks against a submission, found before it
arrays      which jobs go into which array, and what each array waits for
script      the text of a batch script, and handing it to sbatch
queue       how jobs stand: squeue for the living, sacct or scontrol for the dead
verdict     how its words tell that a job was cancelled, or ended as one that saved does
ranks       the command of a job's processes on one node
task        what runs inside a job, on each of its nodes
turns       what runs inside a job of several arms, one after another

What a user sets is `config.launchers.SlurmConfig`. The work itself is `rlpipe.sweep.job`, in a process of its own, so
that whatever kills it is noticed and written down.
"""
