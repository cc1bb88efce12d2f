"""`python -m whoisd`: the same commands."""

from whoisd.commands.cli import main

if __name__ == "__main__":
    main()
