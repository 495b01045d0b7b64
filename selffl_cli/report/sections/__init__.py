"""Sections of the report that only some experiments have."""
