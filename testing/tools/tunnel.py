"""Makes a tun interface and joins it to the datagram socket on standard input.

Usage: tunnel.py NAME LINK_TYPE (a number of linux/if_arp.h: 65534 none, 512 PPP). Writes `ready` when
the interface is there. It vanishes with this process.
"""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, TUNSETLINK = 0x400454CA, 0x400454CD
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

name, link_type = sys.argv[1], int(sys.argv[2])
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
fcntl.ioctl(tun, TUNSETLINK, link_type)
other = socket.socket(fileno=0)
print("ready", flush=True)
while True:
    for ready in select.select([tun, other], [], [])[0]:
        try:
            if ready == tun:
                other.send(os.read(tun, 65536), socket.MSG_DONTWAIT)
            else:
                os.write(tun, other.recv(65536))
        except OSError:
            pass  # The interface is still down, or nobody takes packets at the other end.
