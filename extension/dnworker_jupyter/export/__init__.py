"""From a notebook to a capability: reading cells, slicing and rendering are pure; one function writes."""
