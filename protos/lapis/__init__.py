"""Lapis for callers: the protocol's stubs (`lapis.v1`) and the Python client (`lapis.client`)."""
