"""What every broker does: sentences that are run against each of them."""
