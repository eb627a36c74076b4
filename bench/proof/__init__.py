"""What the service promises under load, shown by experiment: `python -m bench.proof overload`."""
