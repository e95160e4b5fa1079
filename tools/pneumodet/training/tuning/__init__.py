"""Hyper-parameter search: a study of many short runs of one config on one record set."""
