# A statement that is cancelled over TLS, as libpq does it.
import threading

import psycopg

connection = psycopg.connect("host=127.0.0.1 sslmode=require")
assert connection.pgconn.ssl_in_use
threading.Timer(0.5, connection.cancel).start()
try:
    connection.execute("SELECT pg_sleep(60)")
except psycopg.errors.QueryCanceled:
    print("cancelled")
