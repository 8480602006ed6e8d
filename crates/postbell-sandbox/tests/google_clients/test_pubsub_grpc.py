"""Google's Pub/Sub library over gRPC, directed to the sandbox as to an emulator."""

import queue

import pytest
from conftest import PROJECT
from google.api_core.exceptions import AlreadyExists, NotFound, Unauthenticated
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import PushConfig
from google.protobuf import field_mask_pb2


@pytest.fixture
def emulator(sandbox, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", sandbox.url.removeprefix("http://"))


@pytest.fixture
def publisher(emulator):
    with PublisherClient() as client:
        yield client


@pytest.fixture
def subscriber(emulator):
    with SubscriberClient() as client:
        yield client


@pytest.fixture
def topic(sandbox, publisher):
    name = f"projects/{PROJECT}/topics/{sandbox.name('topic')}"
    publisher.create_topic(name=name)
    return name


@pytest.fixture
def subscription(sandbox, subscriber, topic):
    name = f"projects/{PROJECT}/subscriptions/{sandbox.name('subscription')}"
    subscriber.create_subscription(name=name, topic=topic)
    return name


def test_topics_are_administered(publisher, topic):
    assert publisher.get_topic(topic=topic).name == topic
    assert topic in [one.name for one in publisher.list_topics(project=f"projects/{PROJECT}")]
    with pytest.raises(AlreadyExists):
        publisher.create_topic(name=topic)
    publisher.delete_topic(topic=topic)
    with pytest.raises(NotFound):
        publisher.get_topic(topic=topic)


def test_subscriptions_are_administered(publisher, subscriber, topic, subscription):
    assert list(publisher.list_topic_subscriptions(topic=topic)) == [subscription]
    assert subscription in [one.name for one in subscriber.list_subscriptions(project=f"projects/{PROJECT}")]
    read = subscriber.get_subscription(subscription=subscription)
    assert read.topic == topic and read.ack_deadline_seconds == 10
    token = PushConfig.OidcToken(service_account_email="push@p.iam.gserviceaccount.com", audience="https://push.example.com/")
    read.push_config = PushConfig(push_endpoint="https://push.example.com/", oidc_token=token)
    read.ack_deadline_seconds = 60
    mask = field_mask_pb2.FieldMask(paths=["push_config", "ack_deadline_seconds"])
    changed = subscriber.update_subscription(subscription=read, update_mask=mask)
    assert changed.push_config.oidc_token.audience == "https://push.example.com/" and changed.ack_deadline_seconds == 60
    subscriber.modify_push_config(subscription=subscription, push_config=PushConfig())
    assert not subscriber.get_subscription(subscription=subscription).push_config.push_endpoint
    subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(NotFound):
        subscriber.get_subscription(subscription=subscription)


def test_what_is_published_is_pulled_and_acknowledged(publisher, subscriber, topic, subscription):
    id = publisher.publish(topic, b"one", colour="red").result(timeout=30)
    (received,) = subscriber.pull(subscription=subscription, max_messages=10).received_messages
    assert (received.message.message_id, received.message.data) == (id, b"one")
    assert received.message.attributes["colour"] == "red" and received.message.publish_time
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    (again,) = subscriber.pull(subscription=subscription, max_messages=10).received_messages
    assert again.message.message_id == id
    subscriber.acknowledge(subscription=subscription, ack_ids=[again.ack_id])


def test_a_subscriber_streams(publisher, subscriber, topic, subscription):
    received = queue.Queue()

    def take(message):
        message.ack()
        received.put(message.data)

    streaming = subscriber.subscribe(subscription, take)
    publisher.publish(topic, b"streamed").result(timeout=30)
    assert received.get(timeout=30) == b"streamed"
    streaming.cancel()
    streaming.result(timeout=30)


def test_a_wrong_token_is_refused_as_grpc_says_it(sandbox):
    import grpc
    from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport

    channel = grpc.insecure_channel(sandbox.url.removeprefix("http://"))
    client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    with pytest.raises(Unauthenticated):
        client.get_topic(
            topic=f"projects/{PROJECT}/topics/any", metadata=[("authorization", "Bearer wrong")], retry=None
        )
