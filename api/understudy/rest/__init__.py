"""The REST door: parse, call the service, render. Source: contract sections 6 and 7."""
