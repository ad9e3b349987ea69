"""Training a teacher, and a cohort of students: objectives, optimisation, the loop."""
