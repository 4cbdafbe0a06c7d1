"""`python -m drifttrigger`: the same as the console script."""

from drifttrigger.cli.main import main

if __name__ == "__main__":
    main()
