"""Rebuild the shipped day of traffic: `python -m costlab.workload`."""

from costlab.workload.generator import DAY_FILE, generate, write

if __name__ == "__main__":
    trace = generate(seed=0)
    size = write(trace, DAY_FILE)
    print(f"wrote {DAY_FILE.name}: {len(trace):,} rows, {size:,} bytes")
    print(trace)
