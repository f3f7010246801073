"""Files that a deployment of workers needs, written by `dnworker deploy`."""
