"""`python -m tunebridge` is the same as `tunebridge`."""

from tunebridge.cli import main

if __name__ == "__main__":
    main()
