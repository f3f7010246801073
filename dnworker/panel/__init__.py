"""The panel: what a runtime does, live, in a notebook or on a page (see ARCHITECTURE.md, "The panel")."""
