"""MCP servers of capabilities: real ones, well-behaved and hostile."""
