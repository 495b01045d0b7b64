"""`selffl methods`: each method's idea, paper, memory and options, whole words at 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from selffl_cli.cli.methods import choices, print_methods
from selffl_cli.methods import METHODS, method_class


def listed(width: int) -> str:
    out = io.StringIO()
    print_methods(Console(file=out, width=width))
    return out.getvalue()


def test_every_method_is_whole_at_80_columns() -> None:
    text = listed(80)
    assert max(map(len, text.splitlines())) <= 80
    sections = dict(zip(METHODS, text.split("\n\n"), strict=False))
    for name in METHODS:
        cls = method_class(name)
        lines = [" ".join(line.split()) for line in sections[name].splitlines()]
        assert lines[0].split(" = ")[0] == name
        said = " ".join(lines)
        assert cls.idea in said and cls.paper in said and f"each client keeps: {cls.per_client}" in said
        for key, field in cls.options_type.model_fields.items():
            default = str(field.default).lower() if isinstance(field.default, bool) else field.default
            assert any(line.startswith(f"{key}={default} ") for line in lines), key  # never broken: it is to be typed
            assert str(field.description) in said
    assert "actperfl = self-fl" in text


def test_an_option_says_what_it_may_be() -> None:
    found = {(name, key): choices(field) for name in METHODS
             for key, field in method_class(name).options_type.model_fields.items()}  # fmt: skip
    assert found["actperfl", "steps"] == ["calibrated", "literal", "curvature", "fixed"]
    assert found["apfl", "adaptive"] == ["true", "false"]
    assert found["pfedme", "outer_rate"] == ["a number", "learning_rate"]
    assert found["ditto", "lam"] == []
    assert "(calibrated | literal | curvature | fixed)" in " ".join(listed(200).split())
