"""Reads a scrape with prometheus_client's parser and writes what it understood as JSON, one sample per line."""
import json
import sys

from prometheus_client.parser import text_fd_to_metric_families

scrape = open(0, encoding="utf-8", newline="\n")
for family in text_fd_to_metric_families(scrape):
    for sample in family.samples:
        json.dump([sample.name, sample.labels, sample.value], sys.stdout)
        print()
