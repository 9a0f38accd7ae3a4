"""`python -m minference`: the command line, where its script is not on the path."""

from minference.cli.main import main

if __name__ == "__main__":
    main()
