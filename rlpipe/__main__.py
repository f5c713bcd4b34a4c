"""`python -m rlpipe`."""

from rlpipe.cli.main import main

main()
