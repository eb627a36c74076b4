"""Messages and stubs generated from translation.proto by `make proto`."""
