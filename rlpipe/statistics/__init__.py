"""How sure a number is: intervals, paired differences over examples and seeds, power, length control."""
