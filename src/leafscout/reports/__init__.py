"""Run folders and diagnoses as plots and as HTML pages that open offline."""
