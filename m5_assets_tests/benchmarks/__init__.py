"""Every script of benchmarks/ runs, on little data."""
