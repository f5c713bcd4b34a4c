"""Drawing and scoring text with a model: completions with log-probabilities and tool calls, frozen models."""
