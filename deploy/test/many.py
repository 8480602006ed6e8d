"""Two platforms and three relays behind HAProxy work like one, also while one of each is killed under load."""

import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from cluster import KEY, POSTBELL, Cluster, Load, call, kill, main, missing, run, until

USERS = 12


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


opener = urllib.request.build_opener(NoRedirect)


def ask(url, form=None, **headers):
    """Status, body and headers of an answer, also of one that is no success."""
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode() if form is not None else None, headers)
    try:
        answer = opener.open(request, timeout=10)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        return answer.status, answer.read().decode(), answer.headers


def known_to_all(cluster, pusher):
    """A user who has just been added at one platform is known to each relay, although each has just answered for nobody."""
    for relay in cluster.relays:
        assert pusher.push(relay) == 204, "the push of an unknown user is dropped"
    cluster.add(pusher.user, cluster.platforms[0])
    for relay in cluster.relays:
        assert pusher.push(relay) == 204
        until("delivery", lambda: cluster.machines.delivered[pusher.message_id()] == 1)


def exactly_once(cluster, pushers):
    """Each push through the balancer is delivered once."""
    for _ in range(4):
        for pusher in pushers:
            status = pusher.push()
            assert status == 204, status
        until("deliveries", lambda: not missing(cluster, pushers))
    times = set(cluster.machines.delivered.values())
    assert times == {1}, times


def sign_in(cluster, first, second):
    """A link is shown by one platform and used at the other; then both know the session: the cookies."""
    link = urllib.parse.urlsplit(run(POSTBELL, "users", "link", "u0").strip().splitlines()[-1])
    assert ask(first + link.path)[0] == 200
    status, text, headers = ask(second + link.path, {}, origin=cluster.pages_url)
    assert status == 303, (status, text)
    cookies = "; ".join(cookie.split(";")[0] for cookie in headers.get_all("set-cookie"))
    assert ask(first + link.path, {}, origin=cluster.pages_url)[0] != 303, "a link is used once"
    for platform in (first, second, cluster.pages_url, cluster.pages_url):
        assert ask(f"{platform}/bot", cookie=cookies)[0] == 200
    return cookies


def switch_is_seen(cluster, cookies):
    """A switch on the page of one platform changes the open page of the other: after how many seconds."""
    one, other = cluster.platforms
    page = ask(f"{one}/bot", cookie=cookies)[1]
    token = re.search('name="form_token" value="([^"]+)"', page)[1]
    events = urllib.request.urlopen(urllib.request.Request(f"{other}/bot/events", headers={"cookie": cookies}), timeout=30)
    # First each part of the page comes once. The one that comes again is a change.
    seen, switched_at = set(), None
    while (line := events.readline()) not in seen:
        assert line, "the events ended"
        if line.startswith(b"event: "):
            if not seen:
                threading.Timer(0.3, switch, [one, cookies, token]).start()
                switched_at = time.monotonic() + 0.3
            seen.add(line)
    seconds = time.monotonic() - switched_at
    events.close()
    shown = call(f"{other}/api/platform/status?userId=u0", x_internal_api_key=KEY)
    assert b'"gmailNotificationsEnabled":false' in shown, shown
    switch(other, cookies, token, "on")
    return seconds


def switch(platform, cookies, token, to="off"):
    status, text, _ = ask(f"{platform}/bot/notifications", {"form_token": token, "to": to}, cookie=cookies, origin=platform_origin)
    assert status == 303, (status, text)


def killed_under_load(cluster, pushers):
    load = Load(pushers)
    load.wait_for(200)
    kill(cluster.processes[cluster.relays[0]])
    kill(cluster.processes[cluster.platforms[0]])
    began = time.monotonic()
    load.wait_for(300)
    load.stop()
    until("deliveries of all that was acknowledged", lambda: not missing(cluster, pushers))
    seconds = time.monotonic() - began
    repeated = sum(times - 1 for times in cluster.machines.delivered.values())
    print(f"a relay and a platform killed: {load.count} pushes acknowledged, {load.refused} refused, the longest pause {load.longest:.1f} s; 0 lost, all delivered after {seconds:.0f} s, {repeated} twice")


def test():
    global platform_origin
    server = os.environ.pop("POSTBELL_TEST_POSTGRES")
    database = f"postbell_many_{os.getpid()}"
    run("psql", "-qXc", f"CREATE DATABASE {database} ENCODING 'UTF8' TEMPLATE template0", server)
    try:
        cluster = Cluster(f"{server.rsplit('/', 1)[0]}/{database}", relays=3, platforms=2)
        platform_origin = cluster.pages_url
        pushers = [cluster.pusher(f"u{number}") for number in range(USERS)]
        for pusher in pushers[:2]:
            known_to_all(cluster, pusher)
        for number, pusher in enumerate(pushers[2:]):
            cluster.add(pusher.user, cluster.platforms[number % 2])
        exactly_once(cluster, pushers)
        one, other = cluster.platforms
        sign_in(cluster, other, one)
        seconds = switch_is_seen(cluster, sign_in(cluster, one, other))
        print(f"a switch at one platform was seen on the page of the other after {seconds:.2f} s")
        killed_under_load(cluster, pushers)
        for process in cluster.processes.values():
            process.poll() is None and kill(process)
    finally:
        run("psql", "-qXc", f"DROP DATABASE {database} WITH (FORCE)", server)


main(test)
