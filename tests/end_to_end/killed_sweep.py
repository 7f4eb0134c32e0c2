"""Run a scenario into a folder over two workers; to be killed meanwhile."""

import json
import sys

import fedmkt

if __name__ == "__main__":
    fedmkt.simulate(json.loads(sys.argv[1]), out=sys.argv[2], workers=2)
