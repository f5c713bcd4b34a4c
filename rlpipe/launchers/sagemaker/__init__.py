"""Jobs on Amazon SageMaker, each a training job.

launcher     what the launcher asks for: problems, submit, statuses, cancel, and what an hour costs
cloud        asking AWS: clients, and what it refuses, in two errors
jobs         training jobs: listing, starting and stopping them, and the lines of their logs
bucket       files in S3 by their content, and folders that jobs have written there
problems     what speaks against a submission, found before it
prices       what an hour of an instance costs
cargo        what a job needs of this machine: code, frozen work, stages, files
queue        which submitted jobs SageMaker has, may have now, or has lost
home         fetching what jobs have left, into the sweep's folder
boot         what a container begins with: a file without imports of ours, which lays out the cargo
task         what runs inside a container: starts the work, and asks it to stop

There is no shared file system. A container gets all that its job needs with the paths that it has here, so that a
frozen job runs as it was rehearsed. What the job writes lies under /opt/ml/checkpoints, which SageMaker keeps in S3
while it runs and lays out again after an interruption. Whoever looks at the sweep here brings results home, and hands
over arms when the stages that they need have come.

What a user sets is `config.launchers.SageMakerConfig`.
"""
