"""The MCP door: the tools of contract section 6 for models, at `/mcp`. Parse, call the service, render."""
