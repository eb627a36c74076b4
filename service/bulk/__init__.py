"""Millions of pictures on a Ray cluster, by the service's own pipeline: `lapis-bulk`.

    input (folder, bucket, .tar shards) → units → Ray Data → actors, one per GPU: read → translate → write → report

Each actor holds the service without its edge: decoding, batching, engine and encoding are the same code. Outputs are
written whole or not at all, and are their own checkpoint: a run that is started again does what has no output yet.
What the run was begun with, and what failed inside of shards, is kept beside them, hidden.
"""
