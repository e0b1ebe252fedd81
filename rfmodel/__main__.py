"""`python -m rfmodel`."""

from rfmodel.cli import main

main()
