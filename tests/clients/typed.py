# A program at a terminal of its own: what it prints, with TEXT typed as soon as it asks for a password.
# Usage: typed.py TEXT PROGRAM ARGUMENT...
import os
import pty
import sys

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
shown = b""
asked = 0
while True:
    try:
        read = os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side is closed.
        break
    if not read:
        break
    shown += read
    while shown.count(b"assword: ") > asked:
        asked += 1
        os.write(terminal, sys.argv[1].encode() + b"\n")
sys.stdout.write(shown.decode().replace("\r\n", "\n"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
