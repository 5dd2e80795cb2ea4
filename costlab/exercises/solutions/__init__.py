"""Worked solutions, one file for each exercise. The folded solutions in the pages come from here.

A file holds the question and, after `Why: `, the reason in its docstring; then the code; and last
`answer = ...`, which the page leaves out and the tests run.
"""
