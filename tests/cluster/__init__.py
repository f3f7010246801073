"""Several brokers over a real server, which is killed, cut off and emptied."""
