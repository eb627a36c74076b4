"""Container files, and a trial of them."""
