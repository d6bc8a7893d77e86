"""The MCP server over standard input and output: a proxy to a server's `/mcp`. Source: contract section 9."""
