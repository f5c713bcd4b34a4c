"""The on-policy loop: one for every method, so that a comparison of methods compares methods.

- `sampler`: completions of the current policy, with their log-probabilities and tool calls
- `rollout`: one sampled completion, and what it earned
- `packing`: rollouts as rows of tokens; the prompt shared by its completions goes through once
- `forward`: log-probabilities of completion tokens, and nothing that a loss does not need
- `collect`: one batch of rollouts, scored, with reference log-probabilities, values and advantages
- `buffer`: the batch in use, and its form in a checkpoint
- `reference`: the model that the policy is held close to
- `value`: what completions are expected to earn, for methods that learn it
- `advantages`: what a method makes of rewards
- `losses`: what a method makes of advantages
- `objective`: the loss of one optimiser step: policy, KL and value terms
- `method`: the base of every on-policy method; each is an estimator and a loss
- `trainer`: the loop over transformers' Trainer; it knows no method
"""
