"""Attacks on every parser that is ours: `mutate` (200 changed inputs each, or more) and `cover` (guided by coverage).

    python -m fuzz.mutate [PARSER …] [--count 200]
    python -m fuzz.cover PARSER --seconds 120

A parser passes when every input gives a result or a SelfflError of one line, within seconds and bounded memory.
"""
