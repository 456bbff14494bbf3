"""nbgrader's view of this folder, for its own tools: source/ with solutions, release/ for students."""

from pathlib import Path

c = get_config()  # type: ignore # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = "deepseek"
c.CourseDirectory.root = str(Path(__file__).parent)
c.CourseDirectory.source_directory = "source"
c.CourseDirectory.release_directory = "release"
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
