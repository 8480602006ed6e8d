"""patroni.yml with three servers on this machine, under a load of pushes, while servers are killed. Prints what was lost and for how long no push was accepted."""

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from cluster import ROOT, Cluster, Load, call, free_port, kill, main, missing, start, until, work

SERVERS = ("db1", "db2", "db3")
USERS = 24
FAILOVER = 120  # seconds after which a failover that has not come has failed

IS_ROOT = os.getuid() == 0
# PostgreSQL refuses to run as root.
AS_OWNER = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"] if IS_ROOT else []
BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]


class Servers:
    """etcd, and a Patroni with its PostgreSQL for each name."""

    def __init__(self):
        self.etcd = free_port()
        self.ports = {(name, port): free_port() for name in SERVERS for port in (5432, 8008)}
        self.folder = work / "patroni"
        self.folder.mkdir()
        work.chmod(0o755)
        self.certify()
        if IS_ROOT:
            owner = pwd.getpwnam("postgres")
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        url, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd, free_port()))
        arguments = ["--data-dir", str(work / "etcd"), "--listen-client-urls", url, "--advertise-client-urls", url]
        arguments += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
        start("etcd", *arguments, log="etcd.log")
        until("etcd", lambda: b"true" in call(f"{url}/health"))
        self.patroni = {}
        for name in SERVERS:
            self.start(name)

    def certify(self):
        """An authority, and the servers' certificate."""
        self.openssl("ca", "/CN=authority")
        names = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE")
        self.openssl("server", "/CN=db", *names, "-CA", "ca.crt", "-CAkey", "ca.key")

    def openssl(self, name, subject, *more):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        command = ["openssl", "req", "-x509", *key, "-subj", subject, "-days", "2", *more]
        done = subprocess.run(command, cwd=self.folder, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def settings(self, name):
        """patroni.yml for one of the servers, with ports and paths of this machine."""
        text = (ROOT / "deploy/patroni/patroni.yml").read_text()
        text = text.replace("name: db1", f"name: {name}").replace("db1.example.com:8008", f"{name}.example.com:8008").replace("connect_address: db1", f"connect_address: {name}")
        text = re.sub("hosts: .*", f"hosts: ['127.0.0.1:{self.etcd}']", text)
        text = re.sub(r"(0\.0\.0\.0|db\d\.example\.com):(5432|8008)", lambda found: f"127.0.0.1:{self.ports[name, int(found[2])]}", text)
        text = text.replace("/var/lib/postgresql/15/postbell", str(self.data(name))).replace("/usr/lib/postgresql/15/bin", str(BIN))
        return text.replace("/etc/postgresql/", f"{self.folder}/").replace("  parameters:\n    ssl:", f"  parameters:\n    unix_socket_directories: {self.folder}\n    ssl:")

    def data(self, name):
        return self.folder / name

    def start(self, name):
        file = self.folder / f"{name}.yml"
        file.write_text(self.settings(name))
        self.patroni[name] = start(*AS_OWNER, "patroni", str(file), log=f"{name}.log", HOME=str(self.folder), LC_ALL="C")

    def kill(self, name):
        """Kills Patroni and PostgreSQL of a server at once, as a machine that fails."""
        postmaster = int((self.data(name) / "postmaster.pid").read_text().split()[0])
        os.kill(self.patroni[name].pid, signal.SIGSTOP)
        os.kill(postmaster, signal.SIGKILL)
        kill(self.patroni[name])

    def leader(self):
        """The server that accepts writes."""
        for name in SERVERS:
            try:
                call(f"http://127.0.0.1:{self.ports[name, 8008]}/primary")
                return name
            except OSError:
                continue
        return False

    def synchronous(self, but=()):
        """The synchronous standby, as the leader knows it."""
        leader = self.leader()
        members = json.loads(call(f"http://127.0.0.1:{self.ports[leader, 8008]}/cluster"))["members"] if leader else []
        standbys = [one["name"] for one in members if one["role"] == "sync_standby" and one["name"] not in but]
        return standbys[0] if standbys else False

    def psql(self, statement, database="postgres"):
        name = until("leader", self.leader)
        command = [*AS_OWNER, str(BIN / "psql"), "-qXAt", "-h", str(self.folder), "-p", str(self.ports[name, 5432]), "-U", "postgres", "-c", statement, database]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def url(self, proxy):
        if not proxy:
            hosts = ",".join(f"127.0.0.1:{self.ports[name, 5432]}" for name in SERVERS)
        else:
            port = free_port()
            text = (ROOT / "deploy/patroni/haproxy.cfg").read_text().replace("127.0.0.1:6432", f"127.0.0.1:{port}")
            for name in SERVERS:
                text = text.replace(f"{name}.example.com:5432 check port 8008", f"127.0.0.1:{self.ports[name, 5432]} check port {self.ports[name, 8008]}")
            (work / "primary.cfg").write_text(text)
            start("haproxy", "-db", "-f", str(work / "primary.cfg"), log="primary.log")
            hosts = f"127.0.0.1:{port}"
        return f"postgres://postbell:secret@{hosts}/postbell?connect_timeout=2&sslmode=verify-full&sslrootcert={self.folder}/ca.crt"


def accepted(probe, what):
    """Pushes until one is accepted: after how many seconds."""
    began = time.monotonic()
    until(what, lambda: probe.push() == 204, FAILOVER)
    return time.monotonic() - began


def is_ready(url):
    try:
        call(f"{url}/ready")
        return True
    except OSError:
        return False


def test():
    servers = Servers()
    leader = until("leader", servers.leader, FAILOVER)
    until("synchronous standby", servers.synchronous, FAILOVER)
    servers.psql("CREATE ROLE postbell LOGIN PASSWORD 'secret'")
    servers.psql("CREATE DATABASE postbell OWNER postbell ENCODING 'UTF8' TEMPLATE template0")
    cluster = Cluster(servers.url("haproxy" in sys.argv[1:]), relays=2, platforms=1)
    pushers = [cluster.pusher(f"u{number}") for number in range(USERS + 1)]
    for pusher in pushers:
        cluster.add(pusher.user, cluster.platforms[0])
    probe = pushers.pop()
    # What is acknowledged stays in the database, and each user ends with the first failure: nothing later covers what was lost.
    cluster.machines.hold = True
    load = Load(pushers, once=True)
    load.wait_for(500)
    servers.kill(leader)
    seconds = accepted(probe, "a push after the leader was killed")
    load.stop()
    cluster.machines.hold = False
    deadline = time.monotonic() + 60
    while (lost := missing(cluster, pushers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    new = until("new leader", servers.leader)
    print(f"{leader} killed under load, {new} is the leader: {load.count} pushes acknowledged, the last of {len(lost)} of {USERS} users lost; no push accepted for {seconds:.1f} s", flush=True)
    assert not lost, lost
    assert new != leader

    # Strict: the last server accepts nothing alone.
    standby = until("synchronous standby", lambda: servers.synchronous(but=(leader, new)), FAILOVER)
    servers.kill(standby)
    began = time.monotonic()
    until("not ready", lambda: not any(is_ready(relay) for relay in cluster.relays), FAILOVER)
    noticed = time.monotonic() - began
    alone = [probe.push() for _ in range(10)]
    assert 204 not in alone, alone
    doctor = servers.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", "postbell")
    servers.start(leader)
    seconds = accepted(probe, "a push with a new standby")
    print(f"{standby} killed, too: no push accepted, {doctor} sessions wait, /ready 503 after {noticed:.1f} s; {leader} is back and a standby: accepted again after {seconds:.1f} s", flush=True)
    until("deliveries", lambda: not missing(cluster, [probe]), 90)


main(test)
