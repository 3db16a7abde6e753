"""`python -m taskqueue` is `taskqueue`."""

from taskqueue.cli import main

if __name__ == "__main__":
    main()
