"""Places where the jobs of a sweep run: this machine, a SLURM cluster, a Ray cluster."""
