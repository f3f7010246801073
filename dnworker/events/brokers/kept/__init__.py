"""What brokers that keep events share: cursors of workers, and consumers over them."""
