"""Places where the jobs of a sweep run: this machine, a SLURM or Ray cluster, SageMaker.

Where a scheduler runs them, `attempt` stands beside each job's `work`, and `verdict` writes down what a lost job could
not say itself. Where the place knows no dependencies, `queue` says what it may have when, and `remote` is the launcher.
"""
