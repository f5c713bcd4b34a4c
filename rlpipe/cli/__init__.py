"""The command line: overrides run an experiment, a word is a command on what exists."""
