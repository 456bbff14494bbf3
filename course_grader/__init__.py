"""For instructors and authors: how notebooks are run and stored, and what becomes of a graded one."""
