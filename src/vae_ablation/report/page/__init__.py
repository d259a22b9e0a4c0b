"""The report: one HTML file with every figure, table and number of a study."""
