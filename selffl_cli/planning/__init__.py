"""From an experiment to the runs that are to be done."""
