"""For instructors: what becomes of a graded notebook. Students never need it."""
