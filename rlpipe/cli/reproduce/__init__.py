"""Running a recorded run again and comparing the two: `rlpipe reproduce RUN`."""
