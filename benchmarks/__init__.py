"""Measurements of the learners on public data sets, and the training of the bundled backbone."""
