"""What launchers and sweepers can be told (`hydra.launcher.…`, `hydra.sweeper.…`). Every composition reads this."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from omegaconf import OmegaConf

from rlpipe.config.settings import Changes, changing, setting


@changing(Changes.nothing)
@dataclass
class LauncherConfig:
    """The fields that `hydra.launcher.…` has for every launcher."""

    wait: bool = True
    """Watch the sweep until it is over. `false` returns as soon as the jobs are handed over, and says how to come back.
    Sweepers that learn from results (`hydra/sweeper=tpe`) need `true`."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the config that a sweep's settings hold; keys that this version does not have are left out."""
        names = {one.name for one in dataclasses.fields(cls)}
        known = {key: value for key, value in settings.items() if key in names}
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), known))
        assert isinstance(config, cls)
        return config


@changing(Changes.nothing)
@dataclass
class LocalConfig(LauncherConfig):
    """Jobs of a sweep on this machine."""

    jobs: int | None = setting(None, at_least=1, at_most=4096, usual=(None, 256))
    """Most jobs at once. Default: one for each GPU; without any, one for every two cores."""


@changing(Changes.nothing)
@dataclass
class SlurmConfig(LauncherConfig):
    """Jobs on a SLURM cluster: an array of arms, which waits for the stages that they need."""

    partition: str | None = None
    """Where jobs run. Default: the cluster's own default partition."""
    account: str | None = None
    """Whose budget pays. Default: the user's default account."""
    qos: str | None = None
    """The quality of service."""
    gpus: int = setting(1, at_least=0, at_most=64)
    """GPUs of one node of a job; with two or more, torchrun starts one process for each."""
    cpus: int = setting(4, at_least=1, at_most=4096)
    """CPU cores of one node of a job, for all its processes together."""
    memory: str = "16G"
    """Memory of one node of a job, in SLURM's words (`16G`, `500M`)."""
    time: str = "4:00:00"
    """Time limit, in SLURM's words (minutes, `hours:minutes:seconds`, `days-hours`). A job that needs longer saves,
    is queued again and goes on."""
    nodes: int = setting(1, at_least=1, at_most=10**5)
    """Nodes of one job; with two or more, torchrun joins them into one run."""
    processes: int | None = setting(None, at_least=1, at_most=4096)
    """Processes of the run on one node. Default: one for each GPU, one where there are none."""
    constraint: str | None = None
    """Features that nodes must have (`a100|h100`)."""
    reservation: str | None = None
    """The reservation to run in."""
    setup: list[str] = field(default_factory=list)
    """Shell lines that run first on each job's first node (`module load cuda`); one that fails ends the job."""
    container: str | None = None
    """What to put before the run's command, to run it in a container (`apptainer exec --nv image.sif`);
    `python` is then the container's."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other key of sbatch (`+hydra.launcher.extra.nice=100 +hydra.launcher.extra.exclusive=true`); it also
    overrides what rlpipe would say."""
    throttle: int | None = setting(None, at_least=1, at_most=10**6)
    """How many arms run at once. Default: as many as the cluster lets."""
    requeues: int = setting(100, at_least=0, zero="never", at_most=10**6)
    """How often one job may be queued again after a time-out or a preemption."""
    grace: int = setting(120, at_least=0, at_most=10**6)
    """Seconds before the time limit at which a job is asked to save: more than its longest step and its saving take."""
    poll: float = setting(5.0, above=0, at_most=3600, usual=(0.5, 300))
    """Seconds between two questions to the scheduler; outcomes are read from the sweep's folder in between."""

    @property
    def processes_per_node(self) -> int:
        """How many processes of the run one node has."""
        return self.processes if self.processes is not None else max(1, self.gpus)


@changing(Changes.nothing)
@dataclass
class RayConfig(LauncherConfig):
    """Jobs on a Ray cluster, each a Ray Job (`pip install 'rlpipe[ray]'`): arms after the stages that they need."""

    address: str | None = None
    """The cluster, by its dashboard (`http://HEAD:8265`). Default: `$RAY_ADDRESS`, else the head on this machine."""
    gpus: int = setting(1, at_least=0, at_most=64)
    """GPUs of a job, all on one node; with two or more, torchrun starts one process for each."""
    cpus: int = setting(4, at_least=1, at_most=4096)
    """CPU cores of a job, for all its processes together. Ray counts them; it holds nobody to them."""
    memory: str | None = None
    """Memory that Ray counts a job with (`16G`, `500M`); it holds nobody to it. Default: none."""
    resources: dict[str, float] = setting(dict, finite=True)
    """Resources of the cluster's own that a job takes (`+hydra.launcher.resources.a100=1`)."""
    nodes: int = setting(1, at_least=1, at_most=10**5)
    """Nodes of one job: 1, since a Ray Job runs on one node. Runs on several are `hydra/launcher=slurm`'s."""
    time: str | None = None
    """Time limit (minutes, `hours:minutes:seconds`, `days-hours`). A job that needs longer saves, is queued again
    behind others and goes on. Default: none."""
    grace: int = setting(120, at_least=0, at_most=10**6)
    """Seconds to save in, ahead of the time limit and when cancelled: more than the longest step and saving take."""
    requeues: int = setting(100, at_least=0, zero="never", at_most=10**6)
    """How often one job may be queued again after a time-out or the loss of its node."""
    throttle: int | None = setting(None, at_least=1, at_most=10**6)
    """How many arms run at once. Default: as many as the cluster has room for."""
    python: str | None = None
    """The command that is Python on the nodes, with rlpipe and Ray. Default: the path of the one that submits."""
    setup: list[str] = field(default_factory=list)
    """Shell lines that run first in each job; one that fails ends the job."""
    environment: list[str] = field(
        default_factory=lambda: ["RLPIPE_*", "PYTHONPATH", "HF_*", "WANDB_*", "MLFLOW_*", "OPENAI_*", "OMP_NUM_THREADS"]
    )
    """Names of variables of the submitting shell that jobs get, with `*` for anything. They stand in a file of the
    sweep's folder that only you can read; Ray is not told them."""
    poll: float = setting(5.0, above=0, at_most=3600, usual=(0.5, 300))
    """Seconds between two questions to Ray; outcomes are read from the sweep's folder in between."""


@changing(Changes.nothing)
@dataclass
class SageMakerConfig(LauncherConfig):
    """Jobs on Amazon SageMaker, each a training job (`pip install 'rlpipe[sagemaker]'`): arms after the stages that
    they need. Code, configs, stages and files go to S3, results come back into the sweep's folder."""

    image: str | None = None
    """The container image that jobs run in, by its address in ECR (docker/Dockerfile makes one). Must be given."""
    role: str | None = None
    """The role that SageMaker takes on, by its ARN (`arn:aws:iam::ACCOUNT:role/NAME`). Must be given."""
    region: str | None = None
    """The region. Default: that of the AWS profile in use (`$AWS_DEFAULT_REGION`, `$AWS_PROFILE`)."""
    bucket: str | None = None
    """The S3 bucket. Default: `sagemaker-REGION-ACCOUNT`, which must be there."""
    prefix: str = "rlpipe"
    """What all that rlpipe writes into the bucket begins with."""
    instance: str = "ml.g5.xlarge"
    """The kind of instance of a job."""
    gpus: int = setting(1, at_least=0, at_most=64)
    """GPUs of the instance that a job uses; with two or more, torchrun starts one process for each."""
    volume: int = setting(100, at_least=1, at_most=16384)
    """Gigabytes of the instance's disk."""
    spot: bool = False
    """Whether jobs run on spare capacity: cheaper, and interrupted now and then. They go on from their checkpoints."""
    time: str = "24:00:00"
    """Time limit (minutes, `hours:minutes:seconds`, `days-hours`; 28 days at most). A job that needs longer saves, is
    handed over again and goes on."""
    spot_wait: str = "24:00:00"
    """With `spot`, how long a job may wait for capacity in all, beside its time limit."""
    requeues: int = setting(20, at_least=0, zero="never", at_most=10**6)
    """How often one job may be handed over again after its time limit, or for want of capacity."""
    throttle: int | None = setting(None, at_least=1, at_most=10**6)
    """How many arms run at once. Default: as many as the account's quota lets."""
    files: list[str] = field(default_factory=list)
    """Further files and folders that jobs read (your own modules). The folders of rows and weights that configs name go
    along by themselves; all have the same paths there."""
    setup: list[str] = field(default_factory=list)
    """Shell lines that run first in each job; one that fails ends the job."""
    python: str = "python"
    """The command that is Python in the image, with rlpipe's packages."""
    environment: list[str] = field(
        default_factory=lambda: ["RLPIPE_*", "HF_TOKEN", "HF_ENDPOINT", "WANDB_*", "MLFLOW_*", "OPENAI_*"]
    )
    """Names of variables of the submitting shell that jobs get, with `*` for anything. They stand in a file of the
    sweep's folder that only you can read, and in the bucket; the job's description does not show them."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other key of CreateTrainingJob (`+hydra.launcher.extra.VpcConfig.Subnets=[…]`); it also overrides what rlpipe
    would say."""
    price: float | None = setting(None, at_least=0, at_most=10**4)
    """Dollars that an hour of the instance costs, for the plan. Default: what AWS's price list says."""
    poll: float = setting(30.0, above=0, at_most=3600, usual=(5, 600))
    """Seconds between two questions to AWS."""


@dataclass
class SweeperConfig:
    """The fields that `hydra.sweeper.…` has for every sweeper."""

    params: dict[str, str] = field(default_factory=dict)
    """What a study sweeps over, `{seed: '0,1,2'}`; the command line's own values of a field take their place."""


@dataclass
class GridConfig(SweeperConfig):
    """Values are given as `a,b`, `choice(a,b)`, `range(1,4)` or `glob(*)`."""

    max_batch_size: int | None = None
    """Launch so many arms, wait for them, then launch the next. Default: all at once."""


@changing(Changes.nothing)
@dataclass
class RungsConfig:
    """Where hopeless arms end early."""

    rungs: list[int] | None = setting(None, at_least=1)
    """Optimiser steps at which arms are judged: multiples of `watch.every`. Default: `watch.every`, and from there on
    each `reduction` times the one before, as long as the run lasts."""
    reduction: int = setting(3, at_least=2, usual=(2, 10))
    """One in so many goes on from a rung."""


@dataclass
class AshaConfig(RungsConfig, GridConfig):
    """The arms of a grid, of which hopeless ones end early (asynchronous successive halving, arXiv:1810.05934): an arm
    that comes to a rung looks at what the others measured there, and goes on only among the best."""


@changing(Changes.nothing)
@dataclass
class TpeConfig(RungsConfig, SweeperConfig):
    """A search that learns: settings are drawn where earlier ones were good (tree-structured Parzen estimator, Bergstra
    et al. 2011, by Optuna: `pip install 'rlpipe[optuna]'`), from `interval(…)`, `tag(log,interval(…))`,
    `int(interval(…))`, `range(…)`, `choice(…)` and `a,b`. The best is the one that `rlpipe sweep DIR confirm` takes."""

    trials: int = setting(32, at_least=1, at_most=10**5)
    """How many settings are tried, each with all its seeds."""
    batch: int | None = setting(None, at_least=1, at_most=10**4)
    """How many settings are under way at once. Default: as many as the launcher has room for."""
    random: int = setting(10, at_least=1)
    """So many settings are drawn at random first, before anything is learned from them."""
    seed: int = setting(0, at_least=0)
    """The seed of the draws, not of the runs."""
    prune: bool = False
    """Whether hopeless arms end early, at `rungs`, as with `hydra/sweeper=asha`."""
