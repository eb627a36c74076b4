"""Where generators come from: checkpoints of ours and of the reference implementations."""
