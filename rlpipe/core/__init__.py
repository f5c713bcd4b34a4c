"""The ground: errors, files, paths, processes, the terminal, logs, progress, and being asked to stop."""
