"""The REST interface: parses, calls the service, renders. Source: contract sections 6 and 7."""
