"""Settings: declared once, read from YAML and flags.

schema  every setting once: name, type, default, check and description
load    a YAML file and flags to a Config; errors that name the setting
flags   every setting as a flag, and as a row of the documentation's tables
"""
