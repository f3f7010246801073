"""Makes the documentation: generated pages, tutorials with their outputs, and the site of all pages."""
