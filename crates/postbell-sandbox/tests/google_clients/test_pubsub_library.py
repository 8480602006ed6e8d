"""Pub/Sub's administration by Google's own Pub/Sub library, over REST."""

import pytest
from conftest import GMAIL, PROJECT
from google.api_core.exceptions import Conflict, NotFound
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import PushConfig
from google.iam.v1 import policy_pb2
from google.protobuf import field_mask_pb2
from google.pubsub_v1.services.publisher.transports.rest import PublisherRestTransport
from google.pubsub_v1.services.subscriber.transports.rest import SubscriberRestTransport

PUSH_ACCOUNT = "gmail-push@sandbox-project.iam.gserviceaccount.com"


@pytest.fixture
def options(sandbox, email):
    credentials = sandbox.credentials(email)
    return {"host": sandbox.url.removeprefix("http://"), "url_scheme": "http", "credentials": credentials}


@pytest.fixture
def publisher(options):
    return PublisherClient(transport=PublisherRestTransport(**options))


@pytest.fixture
def subscriber(options):
    return SubscriberClient(transport=SubscriberRestTransport(**options))


@pytest.fixture
def topic(sandbox, publisher):
    name = f"projects/{PROJECT}/topics/{sandbox.name('topic')}"
    publisher.create_topic(request={"name": name})
    return name


def test_a_topic_is_made_once_and_gone_when_deleted(publisher, topic):
    assert publisher.get_topic(request={"topic": topic}).name == topic
    with pytest.raises(Conflict, match="already exists"):
        publisher.create_topic(request={"name": topic})
    publisher.delete_topic(request={"topic": topic})
    with pytest.raises(NotFound):
        publisher.get_topic(request={"topic": topic})


def test_gmail_is_let_in_by_read_modify_write(publisher, topic):
    policy = publisher.get_iam_policy(request={"resource": topic, "options": {"requested_policy_version": 3}})
    stale = policy_pb2.Policy(etag=policy.etag)
    policy.bindings.add(role="roles/pubsub.publisher", members=[GMAIL])
    written = publisher.set_iam_policy(request={"resource": topic, "policy": policy})
    assert written.bindings[0].members == [GMAIL] and written.etag != stale.etag
    with pytest.raises(Conflict, match="concurrent policy changes"):
        publisher.set_iam_policy(request={"resource": topic, "policy": stale})


def test_a_push_subscription_is_made_read_and_mended(sandbox, subscriber, topic):
    name = f"projects/{PROJECT}/subscriptions/{sandbox.name('push')}"
    token = PushConfig.OidcToken(service_account_email=PUSH_ACCOUNT, audience="https://old.example.com/push/user/ann")
    wanted = {
        "name": name,
        "topic": topic,
        "ack_deadline_seconds": 30,
        "expiration_policy": {},
        "retry_policy": {"minimum_backoff": {"seconds": 10}, "maximum_backoff": {"seconds": 600}},
        "push_config": PushConfig(push_endpoint="https://old.example.com/push/user/ann", oidc_token=token),
    }
    subscriber.create_subscription(request=wanted)
    read = subscriber.get_subscription(request={"subscription": name})
    assert read.ack_deadline_seconds == 30 and read.push_config.oidc_token.service_account_email == PUSH_ACCOUNT
    assert not read.expiration_policy.ttl and read.retry_policy.minimum_backoff.seconds == 10

    read.push_config.push_endpoint = "https://new.example.com/push/user/ann"
    mask = field_mask_pb2.FieldMask(paths=["push_config"])
    subscriber.update_subscription(request={"subscription": read, "update_mask": mask})
    read = subscriber.get_subscription(request={"subscription": name})
    assert read.push_config.push_endpoint == "https://new.example.com/push/user/ann"
    assert read.ack_deadline_seconds == 30
    subscriber.delete_subscription(request={"subscription": name})
    with pytest.raises(NotFound):
        subscriber.get_subscription(request={"subscription": name})


def test_a_subscription_has_a_policy_and_permissions(sandbox, subscriber, topic):
    name = f"projects/{PROJECT}/subscriptions/{sandbox.name('pull')}"
    subscriber.create_subscription(request={"name": name, "topic": topic})
    policy = subscriber.get_iam_policy(request={"resource": name})
    policy.bindings.add(role="roles/pubsub.subscriber", members=["user:ann@example.com"])
    written = subscriber.set_iam_policy(request={"resource": name, "policy": policy})
    assert written.bindings[0].role == "roles/pubsub.subscriber"
    asked = ["pubsub.subscriptions.consume", "pubsub.subscriptions.update"]
    sandbox.post("/sandbox/permissions", json={"denied": asked[:1]})
    answer = subscriber.test_iam_permissions(request={"resource": name, "permissions": asked})
    assert answer.permissions == asked[1:]
