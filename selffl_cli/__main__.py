"""`python -m selffl_cli` is `selffl`."""

from selffl_cli.cli.main import run

if __name__ == "__main__":
    run()
