"""Running a method: trainers on fixed data and on the policy's own completions, data generation, callbacks."""
