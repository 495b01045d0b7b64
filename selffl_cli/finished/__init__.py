"""What is done to finished runs: they are scored again, verified and audited."""
