"""Settings: declared once, read from YAML files and flags.

metric_names  the names of metrics that settings may have
values        types of settings whose values are written in more than one way
model_schema  the settings of the encoder, and what every section is
tracking_schema  how experiment trackers name a run
presets       settings that others bring along
schema        every setting once: name, type, default, check and description
serve_schema  every setting of the server, likewise
load          a YAML file and flags become a Config, or an error that names the setting
flags         every setting as a flag of the command line and as a row of the documentation's tables
"""
