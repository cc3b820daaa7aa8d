#!/usr/bin/env python3
"""Single-packet authorization a second time, after docs/spa-protocol.md, with nothing but Python's
standard library: X25519, HPKE, ChaCha20-Poly1305, BLAKE3, Ed25519, P-256. Slow, not constant in
time, for tests only.

    check_vectors.py            open crates/knock-spa/tests/vectors.json: packets, replies, confirmations
    check_vectors.py --write    make crates/knock-spa/tests/vectors-python.json, which Rust opens
"""

import hashlib
import hmac
import ipaddress
import json
import pathlib
import struct
import sys

TESTS = pathlib.Path(__file__).resolve().parents[2] / "crates/knock-spa/tests"

# BLAKE3 (the specification, section 2) -------------------------------------------------------

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64
M32 = 0xFFFFFFFF


def compress(chaining, block, counter, length, flags):
    v = list(chaining) + list(IV[:4]) + [counter & M32, counter >> 32, length, flags]
    m = list(block)

    def g(a, b, c, d, x, y):
        v[a] = (v[a] + v[b] + x) & M32
        v[d] = (v[d] ^ v[a]) >> 16 | (v[d] ^ v[a]) << 16 & M32
        v[c] = (v[c] + v[d]) & M32
        v[b] = (v[b] ^ v[c]) >> 12 | (v[b] ^ v[c]) << 20 & M32
        v[a] = (v[a] + v[b] + y) & M32
        v[d] = (v[d] ^ v[a]) >> 8 | (v[d] ^ v[a]) << 24 & M32
        v[c] = (v[c] + v[d]) & M32
        v[b] = (v[b] ^ v[c]) >> 7 | (v[b] ^ v[c]) << 25 & M32

    for _ in range(7):
        for n, (a, b, c, d) in enumerate(
            ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
             (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))):
            g(a, b, c, d, m[2 * n], m[2 * n + 1])
        m = [m[i] for i in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def words(data):
    return struct.unpack("<16I", data.ljust(64, b"\0"))


def blake3(data, key, flags):
    """32 bytes of BLAKE3, of at most two chunks of 1,024 bytes."""
    chunks = [data[i:i + 1024] for i in range(0, len(data), 1024)] or [b""]
    assert len(chunks) <= 2
    outs = []
    for number, chunk in enumerate(chunks):
        blocks = [chunk[i:i + 64] for i in range(0, len(chunk), 64)] or [b""]
        chaining = key
        for i, block in enumerate(blocks):
            f = flags | (CHUNK_START if i == 0 else 0) | (CHUNK_END if i == len(blocks) - 1 else 0)
            f |= ROOT if len(chunks) == 1 and f & CHUNK_END else 0
            chaining = compress(chaining, words(block), number, len(block), f)
        outs.append(chaining)
    if len(outs) == 2:
        outs = [compress(key, outs[0] + outs[1], 0, 64, flags | PARENT | ROOT)]
    return struct.pack("<8I", *outs[0])


def keyed(key, data):
    return blake3(data, struct.unpack("<8I", key), KEYED)


def derive(context, material):
    key = struct.unpack("<8I", blake3(context.encode(), IV, CONTEXT))
    return blake3(material, key, MATERIAL)


assert blake3(b"", IV, 0).hex().startswith("af1349b9f5f9a1a6a0404dea36dcc949")

# ChaCha20-Poly1305 (RFC 8439) ----------------------------------------------------------------


def chacha20(key, counter, nonce):
    init = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key))
    init += [counter] + list(struct.unpack("<3I", nonce))
    v = init[:]

    def rotate(x, n):
        return (x << n | x >> (32 - n)) & M32

    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                v[x] = (v[x] + v[y]) & M32
                v[z] = rotate(v[z] ^ v[x], n)
    return struct.pack("<16I", *((x + y) & M32 for x, y in zip(v, init)))


def xor(key, nonce, data):
    stream = b"".join(chacha20(key, i + 1, nonce) for i in range(-(-len(data) // 64)))
    return bytes(a ^ b for a, b in zip(data, stream))


def poly1305(key, nonce, aad, sealed):
    one_time = chacha20(key, 0, nonce)[:32]
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(one_time[16:], "little")

    def padded(x):
        return x + bytes(-len(x) % 16)

    data = padded(aad) + padded(sealed) + struct.pack("<QQ", len(aad), len(sealed))
    total = 0
    for i in range(0, len(data), 16):
        total = (total + int.from_bytes(data[i:i + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((total + s) & (2**128 - 1)).to_bytes(16, "little")


def seal(key, nonce, plain, aad=b""):
    sealed = xor(key, nonce, plain)
    return sealed + poly1305(key, nonce, aad, sealed)


def unseal(key, nonce, sealed, aad=b""):
    body, tag = sealed[:-16], sealed[-16:]
    assert hmac.compare_digest(poly1305(key, nonce, aad, body), tag), "the seal is broken"
    return xor(key, nonce, body)


# X25519 (RFC 7748) and HPKE (RFC 9180), mode_psk ----------------------------------------------

P = 2**255 - 19


def x25519(scalar, point):
    k = int.from_bytes(scalar, "little") & ~7 & (2**255 - 1) | 2**254
    u = int.from_bytes(point, "little") & (2**255 - 1)
    x1, x2, z2, x3, z3, swap = u, 1, 0, u, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, x3, z2, z3 = x3, x2, z3, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


BASE = (9).to_bytes(32, "little")
KEM = b"KEM" + struct.pack(">H", 0x20)
HPKE = b"HPKE" + struct.pack(">HHH", 0x20, 1, 3)


def extract(salt, suite, label, ikm):
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def expand(prk, suite, label, info, length):
    info = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    out, last, n = b"", b"", 1
    while len(out) < length:
        last = hmac.digest(prk, last + info + bytes([n]), "sha256")
        out, n = out + last, n + 1
    return out[:length]


def key_schedule(dh, enc, public, psk):
    """Key, nonce and exporter secret, the same for both sides."""
    eae = extract(b"", KEM, b"eae_prk", dh)
    shared = expand(eae, KEM, b"shared_secret", enc + public, 32)
    psk_id = extract(b"", HPKE, b"psk_id_hash", b"postern site key")
    info = extract(b"", HPKE, b"info_hash", b"postern spa" + bytes([1]))
    context = b"\1" + psk_id + info
    secret = extract(shared, HPKE, b"secret", psk)
    return (expand(secret, HPKE, b"key", context, 32),
            expand(secret, HPKE, b"base_nonce", context, 12),
            expand(secret, HPKE, b"exp", context, 32))


def export(secret, context, length):
    return expand(secret, HPKE, b"sec", context, length)


# Ed25519 (RFC 8032) and ECDSA over P-256 (FIPS 186-5) -----------------------------------------

D = -121665 * pow(121666, P - 2, P) % P
ORDER_L = 2**252 + 27742317777372353535851937790883648493


def ed_add(p, q):
    (x1, y1), (x2, y2) = p, q
    k = D * x1 * x2 * y1 * y2 % P
    return ((x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P,
            (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P)


def ed_mul(n, p):
    q = (0, 1)
    while n:
        q, p, n = (ed_add(q, p) if n & 1 else q), ed_add(p, p), n >> 1
    return q


def ed_decode(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - xx) % P == 0, "not on the curve"
    return (P - x if x & 1 != sign else x, y)


def ed_encode(p):
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


B = ed_decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def number512(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def ed_secret(seed):
    h = hashlib.sha512(seed).digest()
    return int.from_bytes(h[:32], "little") & ~7 & (2**255 - 1) & ~2**255 | 2**254, h[32:]


def ed_public(seed):
    return ed_encode(ed_mul(ed_secret(seed)[0], B))


def ed_sign(seed, message):
    a, prefix = ed_secret(seed)
    r = number512(prefix, message) % ORDER_L
    point = ed_encode(ed_mul(r, B))
    k = number512(point, ed_public(seed), message) % ORDER_L
    return point + ((r + k * a) % ORDER_L).to_bytes(32, "little")


def ed_verify(public, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = number512(r, public, message) % ORDER_L
    return s < ORDER_L and ed_mul(s, B) == ed_add(ed_decode(r), ed_mul(k, ed_decode(public)))


P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
N256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G256 = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def ec_add(p, q):
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P256 == 0:
            return None
        slope = (3 * p[0] ** 2 - 3) * pow(2 * p[1], -1, P256)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P256)
    x = (slope * slope - p[0] - q[0]) % P256
    return x, (slope * (p[0] - x) - p[1]) % P256


def ec_mul(n, p):
    q = None
    while n:
        q, p, n = (ec_add(q, p) if n & 1 else q), ec_add(p, p), n >> 1
    return q


def ec_verify(point, message, r, s):
    public = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    z, w = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, N256)
    got = ec_add(ec_mul(z * w % N256, G256), ec_mul(r * w % N256, public))
    return 0 < r < N256 and 0 < s < N256 and got[0] % N256 == r


def ec_sign(secret, message, k):
    r = ec_mul(k, G256)[0] % N256
    z = int.from_bytes(hashlib.sha256(message).digest(), "big")
    return r, pow(k, -1, N256) * (z + r * secret) % N256


# The protocol --------------------------------------------------------------------------------

LENGTHS = (256, 448, 704, 1184)
PURPOSES = ("open", "close", "ask")
ALGORITHMS = {1: "ssh-ed25519", 2: "ecdsa-sha2-nistp256", 7: "sk-ssh-ed25519@openssh.com"}


def string(data):
    return struct.pack(">I", len(data)) + data


def strings(blob):
    out = []
    while blob:
        length = struct.unpack(">I", blob[:4])[0]
        out.append(blob[4:4 + length])
        blob = blob[4 + length:]
    return out


def address(text):
    if text is None:
        return 0, bytes(16)
    packed = ipaddress.ip_address(text).packed
    return (4 if len(packed) == 4 else 6), packed.ljust(16, b"\0")


def address_text(family, data):
    if family == 0:
        assert data == bytes(16)
        return None
    if family == 4:
        assert data[4:] == bytes(12)
        return str(ipaddress.IPv4Address(data[:4]))
    assert family == 6
    return str(ipaddress.IPv6Address(data))


def request_bytes(r):
    family, claimed = address(r["claimed"])
    door = r["door"].encode()
    head = struct.pack(">BBBBIQ", r["suite"], PURPOSES.index(r["purpose"]), family, len(door),
                       r["open_for"], r["time"])
    return head + bytes.fromhex(r["key"]) + claimed + door.ljust(32, b"\0")


class Site:
    def __init__(self, server_public, site_key):
        self.public = server_public
        self.gate = derive("postern spa v1: gate tag", site_key)
        self.mask_key = derive("postern spa v1: mask of the encapsulation", site_key)
        self.psk = derive("postern spa v1: pre-shared key of HPKE", site_key)

    def mask(self, enc, following):
        return bytes(a ^ b for a, b in zip(enc, keyed(self.mask_key, following[:32])))

    def tag(self, rest):
        return keyed(self.gate, struct.pack(">H", 16 + len(rest)) + rest[:240])[:16]

    def frame(self, enc, sealed):
        rest = self.mask(enc, sealed) + sealed
        return self.tag(rest) + rest

    def unframe(self, datagram):
        tag, rest = datagram[:16], datagram[16:]
        assert self.tag(rest) == tag, "the gate tag"
        return tag, self.mask(rest[:32], rest[32:]), rest[32:]


def message(server_public, enc, request):
    return request[:1] + server_public + enc + request


def to_sign(data):
    return (b"SSHSIG" + string(b"knock@postern") + string(b"") + string(b"sha512")
            + string(hashlib.sha512(data).digest()))


def check_signature(blob, number, flags, counter, signature, data):
    fields = strings(blob)
    assert fields[0].decode() == ALGORITHMS[number]
    if number == 1:
        return ed_verify(fields[1], data, signature)
    if number == 2:
        return ec_verify(fields[2], data, int.from_bytes(signature[:32], "big"),
                         int.from_bytes(signature[32:], "big"))
    data = (hashlib.sha256(fields[2]).digest() + struct.pack(">BI", flags, counter)
            + hashlib.sha256(data).digest())
    return ed_verify(fields[1], data, signature)


def answer_key(exchange, label, salt):
    return keyed(exchange, label + salt)


def open_reply(exchange, tag, datagram, expected):
    assert len(datagram) == 160
    plain = unseal(answer_key(exchange, b"reply", datagram[:16]), bytes(12), datagram[16:], tag)
    suite, number, family, length, zero, time, value = struct.unpack(">BBBBIQQ", plain[:24])
    assert suite == 1 and zero == 0 and plain[56:64] == bytes(8)
    assert time == expected["time"]
    assert address_text(family, plain[24:40]) == str(ipaddress.ip_address(expected["seen"]))
    cookie, text = plain[40:56], plain[64:64 + length].decode()
    assert plain[64 + length:] == bytes(64 - length)
    names = {1: "Opened", 2: "Closed", 3: "WouldOpen", 4: "Confirm", 33: "Refused(ClockOff"}
    assert expected["outcome"].startswith(names[number]), (number, expected["outcome"])
    if number in (1, 3):
        assert text in expected["outcome"] and (str(value) in expected["outcome"] or value == 0)
    if number == 33:
        assert str(struct.unpack(">q", struct.pack(">Q", value))[0]) in expected["outcome"]
    return cookie


def check(v):
    hexed = lambda name: bytes.fromhex(v[name])
    secret, public = hexed("server_secret"), hexed("server_public")
    assert x25519(secret, BASE) == public
    site = Site(public, hexed("site_key"))
    datagram = hexed("datagram")
    assert len(datagram) in LENGTHS
    tag, enc, sealed = site.unframe(datagram)
    key, nonce, exporter = key_schedule(x25519(secret, enc), enc, public, site.psk)
    plain = unseal(key, nonce, sealed)
    request, block = plain[:80], plain[80:]
    assert request == request_bytes(v["request"]) == bytes.fromhex(v["request"]["bytes"])
    blob = hexed("public_key")
    assert request[16:32] == hashlib.sha256(blob).digest()[:16]
    number, flags, counter, c, s = struct.unpack(">BBIHH", block[:10])
    assert c == 0 and ALGORITHMS[number] == v["algorithm"]
    assert block[10 + s:] == bytes(len(block) - 10 - s), "padding"
    assert message(public, enc, request) == hexed("message")
    data = to_sign(hexed("message"))
    assert data == hexed("to_sign")
    assert check_signature(blob, number, flags, counter, block[10:10 + s], data), "the signature"
    exchange = export(exporter, b"postern spa v1: answers", 32)
    reply = v["reply"]
    cookie = open_reply(exchange, tag, bytes.fromhex(reply["datagram"]), reply)
    confirm = v["confirm"]
    if confirm:
        datagram = bytes.fromhex(confirm["datagram"])
        assert len(datagram) == 208
        tag, again, sealed = site.unframe(datagram)
        assert again == enc
        plain = unseal(answer_key(exchange, b"confirm", sealed[:16]), bytes(12), sealed[16:])
        family, seen = address(reply["seen"])
        assert plain == (request + cookie + bytes([family]) + seen).ljust(128, b"\0")
        open_reply(exchange, tag, bytes.fromhex(confirm["reply"]["datagram"]), confirm["reply"])


CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def check_code(v):
    bits = 0
    for c in v["code"].replace("-", ""):
        bits = bits << 5 | CROCKFORD.index(c)
    assert keyed(bytes.fromhex(v["salt"]), bits.to_bytes(10, "big")).hex() == v["hash"]


def numbers(name, n=32):
    """Bytes that are the same every time."""
    return hashlib.shake_256(b"postern " + name.encode()).digest(n)


def make(name, kind, purpose, door, open_for, claimed, seen, length):
    server, site_key, seed = (numbers(f"{name} {x}") for x in ("server", "site", "user"))
    public = x25519(server, BASE)
    if kind == 2:
        secret = int.from_bytes(seed, "big") % N256
        x, y = ec_mul(secret, G256)
        point = b"\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
        blob = string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(point)
    elif kind == 7:
        blob = string(ALGORITHMS[7].encode()) + string(ed_public(seed)) + string(b"ssh:")
    else:
        blob = string(b"ssh-ed25519") + string(ed_public(seed))
    request = dict(suite=1, purpose=purpose, time=1795737600000,
                   key=hashlib.sha256(blob).digest()[:16].hex(), door=door, open_for=open_for,
                   claimed=claimed)
    plain = request_bytes(request)
    request["bytes"] = plain.hex()
    site = Site(public, site_key)
    ephemeral = numbers(f"{name} ephemeral")
    enc = x25519(ephemeral, BASE)
    key, nonce, _ = key_schedule(x25519(ephemeral, public), enc, public, site.psk)
    data = to_sign(message(public, enc, plain))
    flags, counter = 0, 0
    if kind == 2:
        nonce_k = int.from_bytes(numbers(f"{name} k"), "big") % N256
        signature = b"".join(n.to_bytes(32, "big") for n in ec_sign(secret, data, nonce_k))
    elif kind == 7:
        flags, counter = 1, 41
        inner = (hashlib.sha256(b"ssh:").digest() + struct.pack(">BI", flags, counter)
                 + hashlib.sha256(data).digest())
        signature = ed_sign(seed, inner)
    else:
        signature = ed_sign(seed, data)
    plain += struct.pack(">BBIHH", kind, flags, counter, 0, len(signature)) + signature
    datagram = site.frame(enc, seal(key, nonce, plain.ljust(length - 64, b"\0")))
    assert len(datagram) == length
    return dict(name=name, server_secret=server.hex(), site_key=site_key.hex(),
                public_key=blob.hex(), request=request, seen=seen, datagram=datagram.hex())


def write():
    packets = [
        make("ed25519, IPv4", 1, "open", "ssh", 60, "192.0.2.1", "192.0.2.1", 256),
        make("ed25519, IPv6, padded to the longest", 1, "ask", "a", 0, "2001:db8::1", "2001:db8::1", 1184),
        make("p-256, no address", 2, "close", "x" * 32, 2**32 - 1, None, "2001:db8::2", 448),
        make("security key", 7, "open", "web.example/tcp", 1, None, "198.51.100.7", 704),
    ]
    text = json.dumps({"packets": packets}, indent=2, sort_keys=True) + "\n"
    (TESTS / "vectors-python.json").write_text(text)


def main():
    if sys.argv[1:] == ["--write"]:
        write()
        return
    vectors = json.loads((TESTS / "vectors.json").read_text())
    for vector in vectors["packets"]:
        check(vector)
        print("ok:", vector["name"])
    check_code(vectors["code"])
    print("ok: a code on paper")


if __name__ == "__main__":
    main()
