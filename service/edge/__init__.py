"""Where requests come in, over gRPC and HTTP; translates between protocols and the service, and decides nothing."""
