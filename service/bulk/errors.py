"""What ends a bulk translation; every message is one line for whoever ran the command."""


class BulkError(Exception):
    """The run cannot go on; what was written stays, and the same command goes on from there."""
