"""``python -m edgeexit.cli``: the same as the ``edgeexit`` command."""

from edgeexit.cli.main import main

main()
