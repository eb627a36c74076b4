"""The model repository, and what of it is served: found, loaded, watched, swapped, let go."""
