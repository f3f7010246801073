"""Compares what notebooks do in a kernel with what their exports do: a corpus, and notebooks made at random."""
