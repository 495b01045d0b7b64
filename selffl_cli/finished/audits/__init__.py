"""Attacks on finished runs that measure what a model gives away."""
