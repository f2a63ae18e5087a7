# A connection over TLS that is used again whenever a line comes in.
import sys

import psycopg

connection = psycopg.connect("host=127.0.0.1 sslmode=require")
for line in sys.stdin:
    print(connection.execute("SELECT " + line).fetchone()[0], flush=True)
