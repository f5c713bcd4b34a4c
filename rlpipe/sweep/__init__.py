"""Sweeps: what happens between `-m` and the arms' runs, and what can be done with them afterwards.

rehearse (compose and check every arm) → plan (show what will be built, run and spent) → freeze (write each job's
work down, so that nothing is composed again) → submit (to a launcher: the local pool, SLURM, Ray) → watch

    discovery, hydra_launcher, sweeper   what Hydra finds and calls
    launching, study                the order of these steps, and what is written of the whole
    arms, composition               the arms, and composing many of them quickly
    rehearse, plan, estimate        what is wrong, and what it will take
    place, freeze, job, code        the sweep's folder, the frozen work, and what runs it where it lands
    states, table, watch            how every arm stands
    extend, confirm                 more arms; the winner's fresh seeds
    criterion, asha                 what arms are judged by, and where hopeless ones end
    space, trials, search, driver   arms that are drawn where earlier ones were good

What a sweep's folder holds is `records.sweep`'s; where jobs run is `launchers`'.
"""
