"""The Grafana dashboard: `panels` says what it shows, `parts` builds it, `python -m scripts.dashboard` writes it."""
