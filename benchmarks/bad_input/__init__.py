"""What bad input does to everybody else: see `benchmarks.bad_input.__main__`."""
