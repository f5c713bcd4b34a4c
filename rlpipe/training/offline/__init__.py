"""What all methods on fixed data share: tokens, batches, arguments and the trainer over TRL's."""
