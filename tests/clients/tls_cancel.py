# A statement that is cancelled over TLS, as libpq does it.
import threading

import psycopg

connection = psycopg.connect("host=127.0.0.1 sslmode=require")
assert connection.pgconn.ssl_in_use
ended = threading.Event()


def cancel():
    # A request that comes before the statement runs is for nothing.
    while not ended.wait(0.1):
        connection.cancel()


canceller = threading.Thread(target=cancel)
canceller.start()
try:
    connection.execute("SELECT pg_sleep(60)")
except psycopg.errors.QueryCanceled:
    print("cancelled")
ended.set()
canceller.join()
