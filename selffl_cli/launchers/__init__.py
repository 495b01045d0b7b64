"""Many runs: one queue, carried out here, in local processes, by Ray, or under torchrun."""
