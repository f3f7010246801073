"""The broker that several nodes share: NATS with JetStream."""
