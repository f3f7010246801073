"""What coding agents reach by MCP: `dnworker mcp`, and the process that `%runtime mcp` starts."""
