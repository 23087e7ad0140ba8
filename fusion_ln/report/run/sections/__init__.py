"""The sections of a report: every module below here builds one, see `fusion_ln.report.run.section`."""
