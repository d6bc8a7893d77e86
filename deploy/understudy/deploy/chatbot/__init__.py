"""The demo chatbot: the help desk of the demo shop."""
