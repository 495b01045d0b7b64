"""Figures (numbers) that are computed from run folders."""
