"""Pictures: pure functions from data to SVG text for live widgets and to matplotlib figures for page and print."""
