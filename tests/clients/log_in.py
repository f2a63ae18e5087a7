"""Logs in as each line of standard input says: a JSON object of an id and settings of libpq. For each it prints the id, whether
it came in, and as whom, or why not."""

import concurrent.futures
import json
import sys

import psycopg


def log_in(line):
    cell = json.loads(line)
    try:
        with psycopg.connect(**cell["settings"]) as conn:
            return [cell["id"], True, conn.execute("SELECT current_user").fetchone()[0]]
    except psycopg.Error as error:
        return [cell["id"], False, str(error)]


with concurrent.futures.ThreadPoolExecutor(6) as pool:
    for result in pool.map(log_in, sys.stdin):
        print(json.dumps(result))
