"""AI feedback: pairs of better and worse responses to prompts, by a judge or a reward model instead of people.

`responses` draws them from the policy, `judging` has them scored or compared, `pairs` makes the rows of it; `chunks`
keeps what is done, so that a run that ends at any moment goes on where it was. `generator` runs them one after another.
"""
