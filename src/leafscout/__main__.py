"""``python -m leafscout``: the command line."""

from leafscout.cli import main

if __name__ == "__main__":
    main()
