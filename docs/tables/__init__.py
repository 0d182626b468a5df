"""Tables of measured figures: one module for each subject, each with its ``TABLES``."""
