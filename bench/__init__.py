"""Measurements: `lapis-bench` puts a server under load; the rest compares ours with the bare libraries."""
