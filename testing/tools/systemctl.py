#!/usr/bin/env python3
"""`systemctl` for machines without an init: does with a unit of ours what its file says.

Usage: systemctl VERB [--now] [UNIT ...]. It knows start, stop, restart, reload, status, is-active,
enable, disable and daemon-reload; `Type=notify` units are waited for until they are ready, as systemd
does. What a unit prints is in /run/units/UNIT.log.
"""

import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time

PATIENCE = 20
RUN = pathlib.Path("/run/units")


def settings(unit):
    """The lines of the unit's file, as lists by key."""
    found = {}
    path = pathlib.Path("/etc/systemd/system") / f"{unit}.service"
    if not path.exists():
        sys.exit(f"Unit {unit}.service not found.")
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", "[")):
            found.setdefault(key.strip(), []).append(value.strip())
    return found


def environment(unit):
    """What /etc/default has for the unit."""
    found = {}
    for name in settings(unit).get("EnvironmentFile", []):
        path = pathlib.Path(name.lstrip("-"))
        for line in path.read_text().splitlines() if path.exists() else []:
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found[key.strip()] = " ".join(shlex.split(value))
    return found


def words(unit, command, more):
    """A command of the unit, with its variables: each is as many words as it has."""
    values = environment(unit) | more
    found = []
    for word in shlex.split(command):
        found += values.get(word[1:], "").split() if word.startswith("$") else [word]
    return found


def pid(unit):
    """The process of the unit, if it runs."""
    try:
        number = int((RUN / f"{unit}.pid").read_text())
        os.kill(number, 0)
        stat = pathlib.Path(f"/proc/{number}/stat").read_text()
        return None if stat.rpartition(")")[2].split()[0] == "Z" else number
    except (OSError, ValueError):
        return None


def start(unit):
    if pid(unit):
        return
    found = settings(unit)
    notify = found.get("Type", ["simple"])[0] == "notify"
    name = RUN / f"{unit}.notify"
    name.unlink(missing_ok=True)
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(name))
    ready.settimeout(0.05)
    for directory in found.get("StateDirectory", []):
        os.makedirs(f"/var/lib/{directory}", mode=0o700, exist_ok=True)
    with open(RUN / f"{unit}.log", "ab") as log:
        process = subprocess.Popen(
            words(unit, found["ExecStart"][0], {}),
            env=os.environ | environment(unit) | {"NOTIFY_SOCKET": str(name)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    (RUN / f"{unit}.pid").write_text(str(process.pid))
    deadline = time.monotonic() + PATIENCE
    while notify and time.monotonic() < deadline:
        try:
            if b"READY=1" in ready.recv(4096).split(b"\n"):
                return
        except TimeoutError:
            pass
        if process.poll() is not None:
            break
    if notify or process.wait(PATIENCE) != 0:
        sys.exit(
            f"Job for {unit}.service failed because the control process exited with error code.\n"
            f'See "systemctl status {unit}.service" and "journalctl -xeu {unit}.service" for details.'
        )


def stop(unit):
    number = pid(unit)
    if number:
        os.kill(number, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while pid(unit):
        if time.monotonic() > deadline:
            sys.exit(f"{unit}.service does not stop")
        time.sleep(0.02)


def reload(unit):
    number = pid(unit)
    if not number:
        sys.exit(f"{unit}.service is not active, cannot reload.")
    subprocess.run(words(unit, settings(unit)["ExecReload"][0], {"MAINPID": str(number)}), check=True)


def status(unit):
    runs = pid(unit)
    log = RUN / f"{unit}.log"
    print(f"{unit}.service: {'active (running)' if runs else 'inactive or failed'}")
    print("\n".join(log.read_text().splitlines()[-10:] if log.exists() else []))
    sys.exit(0 if runs else 3)


def main():
    verb, *rest = sys.argv[1:]
    now = "--now" in rest
    units = [word.removesuffix(".service") for word in rest if not word.startswith("-")]
    for unit in units:
        if verb in ("stop", "restart") or (verb == "disable" and now):
            stop(unit)
        if verb in ("start", "restart") or (verb == "enable" and now):
            start(unit)
        if verb == "reload":
            reload(unit)
        if verb == "status":
            status(unit)
        if verb == "is-active":
            print("active" if pid(unit) else "inactive")
            sys.exit(0 if pid(unit) else 3)
        settings(unit)
    known = ("start", "stop", "restart", "reload", "enable", "disable", "daemon-reload")
    if verb not in known:
        sys.exit(f"this systemctl does not know `{verb}`")


main()
