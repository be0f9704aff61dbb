"""Runs Python with the arguments, and has it talk over the socket at its
descriptor 3 with whoever is at stdin and stdout. When stdin ends, so does it."""
import os
import select
import signal
import socket
import sys

ours, theirs = socket.socketpair()
theirs.set_inheritable(True)
child = os.posix_spawn(sys.executable, [sys.executable] + sys.argv[1:], os.environ, file_actions=[
    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_DUP2, 2, 1),
])
theirs.close()


def pump():
    while True:
        for source in select.select([0, ours], [], [])[0]:
            if source == 0:
                data = os.read(0, 1 << 20)
                if not data:
                    os.kill(child, signal.SIGKILL)
                    return
                ours.sendall(data)
                continue
            data = ours.recv(1 << 20)
            if not data:
                return
            while data:
                data = data[os.write(1, data):]


try:
    pump()
except OSError:
    pass  # one side is gone; the child says how it ended
_, status = os.waitpid(child, 0)
os._exit(os.waitstatus_to_exitcode(status) & 255)
