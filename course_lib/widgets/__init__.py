"""Widgets: controls wired to pictures; `accounting` and its neighbours compute, `figures` draws."""
