"""Runs of any family side by side on the same exams."""
