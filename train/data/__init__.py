"""Pairs on disk become batches: layouts → pictures → transform → data set → loader."""
