"""``python -m unmorph``: the command line, where its own program is not on the path."""

from unmorph.cli import main

if __name__ == "__main__":
    main()
