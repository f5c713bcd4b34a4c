"""The on-policy loop: one for every method, so that a comparison of methods compares methods.

- `build`: from the parts of a run to its trainer
- `prompt_batches`: which prompts come when
- `drawing`: completions drawn and scored, and drawn again until they differ
- `solve_rates`: how often each prompt is solved, and which are left out for that
- `collect`: one batch of rollouts with reference log-probabilities, values and advantages
- `packing`: rollouts as rows of tokens; the prompt shared by its completions goes through once
- `forward`, `logprobs`: log-probabilities of completion tokens, and nothing that a loss does not need
- `reference`: the model that the policy is held close to
- `value`: what completions are expected to earn, for methods that learn it
- `objective`: the loss of one optimiser step: policy, KL and value terms
- `trainer`: the loop over transformers' Trainer; it knows no method
- `trl`: TRL's own trainers on the same prompts and rewards, to compare with

What a method makes of rewards and advantages stands in `methods`, how completions are drawn in `engines`.
"""
