"""Training: pairs → networks → losses → step → loop → checkpoint."""
