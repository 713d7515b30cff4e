"""The client: squares five numbers, wherever workers are."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where example_module lies

import example_module
import seppo

if __name__ == "__main__":
    results = seppo.map_parallel(example_module.hello_world, [1, 2, 3, 4, 5])
    for result in results:
        print(result)
