"""Texts: reading, words, vectors."""
