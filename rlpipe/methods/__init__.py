"""What a method is. Nothing here draws completions, packs rows or trains: trainers know methods, not the reverse.

A method is one class (`base.Method`) and the dataclass of its settings (`Config`). It says

    takes           which forms of example it trains on
    trainer         which module of `rlpipe.training` runs it, by name
    takes_reward    whether it learns from rewards; `takes_tool`, `head`, `makes` likewise
    problems        which of its settings do not go together

and what is new about it:

    offline.py      on examples that stay as they are (TRL trains): `columns`, how tokens become the trainer's columns,
                    and `library_fields`, which are which of TRL's       sft reward_model dpo kto orpo simpo
    online.py       on completions of its own policy (rlpipe's loop): `advantages`, what each token is worth, and
                    `policy_loss`, what is differentiated    rloo grpo reinforce ppo online_dpo distill
    trl.py          the same by TRL's own trainers, to compare with           trl_rloo trl_grpo
    base.py         anything else                                             ai_feedback (makes data) none

What those are written with: `columns.py` (layouts), `advantages.py` and `losses.py` (pure functions of tensors), and
`batch.py` (the scored completions that they are given). The last three import torch: methods import them in functions.

To add one: subclass the nearest of these, or a method itself (`DPO`), give it a `Config` with what is new, name it in
`config.plugins.BUILT_IN` or, from a package of your own, in the entry-point group `rlpipe.method`.
`rlpipe.testing.check_method` says what is missing.
"""
