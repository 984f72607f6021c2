"""The figures of README.md and docs/performance.md, each a ratio taken side by side in one run.

`./run bench` makes them all, `./run bench NAME...` some. Each benchmark leaves its raw samples in
`benchmarks/results/NAME.json`; the table in README.md is made from these files, and from nothing
else (`python -m benchmarks --table`).
"""
