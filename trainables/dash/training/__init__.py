"""Training a teacher, and a cohort of students: objectives, optimization, the loop."""
