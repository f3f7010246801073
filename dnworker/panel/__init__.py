"""The panel: what a runtime does, live, in a notebook or on a page (see docs/decisions/0018-panel.md)."""
