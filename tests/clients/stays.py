"""Runs each line of standard input over one connection, and prints the first value of each."""

import sys

import psycopg

with psycopg.connect("", autocommit=True) as conn:
    for line in sys.stdin:
        print(conn.execute(line.strip()).fetchone()[0], flush=True)
