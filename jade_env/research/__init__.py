"""Comparing what was learned: statistics over many episodes, comparisons of recipes, reports."""
