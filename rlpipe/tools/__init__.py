"""What completions may call, how calls are written, and running them."""
