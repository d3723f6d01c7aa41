"""Reads a scrape with prometheus_client's parser and writes what it understood as JSON, one sample per line.

With the argument openmetrics it reads that format, and refuses what is not strictly it.
"""
import json
import sys

if sys.argv[1:] == ["openmetrics"]:
    from prometheus_client.openmetrics.parser import text_fd_to_metric_families
else:
    from prometheus_client.parser import text_fd_to_metric_families

scrape = open(0, encoding="utf-8", newline="\n")
for family in text_fd_to_metric_families(scrape):
    for sample in family.samples:
        json.dump([sample.name, sample.labels, sample.value], sys.stdout)
        print()
