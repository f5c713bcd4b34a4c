"""Places where the jobs of a sweep run: this machine, a SLURM cluster, a Ray cluster.

Where a scheduler runs them, `attempt` stands beside each job's `work`, and `verdict` writes down what a lost job could
not say itself.
"""
