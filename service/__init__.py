"""The service: pictures in over gRPC, translated pictures out."""
