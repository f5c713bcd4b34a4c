"""What completions earn: verifiers, models, judges, and their weighted sum."""
