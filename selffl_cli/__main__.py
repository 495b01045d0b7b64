"""`python -m selffl_cli` is `selffl`."""

from .cli.main import run

if __name__ == "__main__":
    run()
