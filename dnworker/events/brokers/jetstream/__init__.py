"""The broker that many runtimes share, over a NATS server with JetStream: begin with `broker.py`."""
