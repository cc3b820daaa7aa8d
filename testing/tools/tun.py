"""Makes a tun interface and feeds it with IP packets: one a line, in hexadecimal, on standard input.

Usage: tun.py NAME LINK_TYPE (a number of linux/if_arp.h: 65534 none, 512 PPP). Writes `ready` when
the interface is there. It vanishes when the input ends.
"""

import fcntl
import os
import struct
import sys

TUNSETIFF, TUNSETLINK = 0x400454CA, 0x400454CD
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

name, link_type = sys.argv[1], int(sys.argv[2])
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
fcntl.ioctl(tun, TUNSETLINK, link_type)
print("ready", flush=True)
for line in sys.stdin:
    os.write(tun, bytes.fromhex(line))
