"""The report of a run or a cross-validation: one page in one file.

figures     figures as a report shows them
evidence    what the folder of a run or a cross-validation says, finished or not
curves      learning curves
classes     which labels are taken for which; each label and each slice
confidence  reliability, coverage, thresholds, residuals
rows        rows worth a look
overview    what a run comes to, its data, and what it was made with
report      the report of a run or a cross-validation
"""
