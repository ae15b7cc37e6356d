"""Speed figures, as ratios measured side by side in one run. `make bench`; CI runs them short, as a smoke test.

A figure here is a measurement, not a gate: nothing fails because a machine is slow.
"""
