"""The MCP interface: the tools of contract section 6 at `/mcp`. It parses, calls the service and renders."""
