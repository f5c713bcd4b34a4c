"""Running a recorded run again and comparing the two: `python -m rlpipe.reproduce RUN`."""
