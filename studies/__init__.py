"""Data only: the YAML files in this folder ship as the package `jade_env.studies`."""
