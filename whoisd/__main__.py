"""`python -m whoisd`: the same commands, by the same name."""

from whoisd.commands.cli import main

if __name__ == "__main__":
    main(prog_name="whoisd")
