"""Stages: runs that other runs need, named by their overrides, stored by their fingerprint, built once.

A run may start from a stage (`after`, `model.stage`), be held close to one (`method.reference.stage`), be scored by one
(`reward.NAME.stage`, `evaluation.NAME.stage`) and train on rows that one has made (`dataset.stage`).

    lineage       which runs a run needs, and what they inherit
    fingerprint   a run's name by all that determines its result; `identity` names rows and weights by content
    store         finding a stage again, waiting for it, building it, and what a run gets of all this
    users         who uses a stage
    stored, why, upkeep             what `rlpipe stages` shows and does
"""
