import base64

import pytest
from conftest import PROJECT
from googleapiclient.errors import HttpError


def encode(text):
    return base64.b64encode(text.encode()).decode()


def status(request):
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value.status_code


@pytest.fixture
def topic(sandbox, pubsub):
    return sandbox.topic(pubsub)


@pytest.fixture
def subscribe(sandbox, pubsub, topic):
    def subscribe(**settings):
        name = f"projects/{PROJECT}/subscriptions/{sandbox.name('subscription')}"
        body = {"topic": topic, **settings}
        pubsub.projects().subscriptions().create(name=name, body=body).execute()
        return name

    return subscribe


def publish(pubsub, topic, *texts):
    messages = [{"data": encode(text)} for text in texts]
    return pubsub.projects().topics().publish(topic=topic, body={"messages": messages}).execute()["messageIds"]


def pull(pubsub, subscription, **how):
    body = {"maxMessages": 10, **how}
    pulled = pubsub.projects().subscriptions().pull(subscription=subscription, body=body).execute()
    return pulled.get("receivedMessages", [])


def test_topics_are_made_once_listed_and_deleted(sandbox, pubsub):
    topics = pubsub.projects().topics()
    name = f"projects/{PROJECT}/topics/{sandbox.name('topic')}"
    assert status(topics.get(topic=name)) == 404
    assert topics.create(name=name, body={}).execute()["name"] == name
    assert status(topics.create(name=name, body={})) == 409
    listed = topics.list(project=f"projects/{PROJECT}").execute()["topics"]
    assert name in [topic["name"] for topic in listed]
    topics.delete(topic=name).execute()
    assert status(topics.get(topic=name)) == 404


def test_a_policy_changes_only_from_the_state_that_was_read(pubsub, topic):
    topics = pubsub.projects().topics()
    read = topics.getIamPolicy(resource=topic).execute()
    assert read["bindings"][0]["role"] == "roles/pubsub.publisher"
    topics.setIamPolicy(resource=topic, body={"policy": read}).execute()
    assert status(topics.setIamPolicy(resource=topic, body={"policy": read})) == 409


def test_what_is_published_can_be_pulled_and_acknowledged(pubsub, topic, subscribe):
    subscription = subscribe()
    ids = publish(pubsub, topic, "one", "two")
    pulled = pull(pubsub, subscription)
    assert [one["message"]["messageId"] for one in pulled] == ids
    assert base64.b64decode(pulled[0]["message"]["data"]) == b"one"
    ack_ids = {"ackIds": [one["ackId"] for one in pulled]}
    pubsub.projects().subscriptions().acknowledge(subscription=subscription, body=ack_ids).execute()
    assert pull(pubsub, subscription, returnImmediately=True) == []


def test_what_is_not_wanted_now_comes_again(pubsub, topic, subscribe):
    subscription = subscribe()
    ids = publish(pubsub, topic, "again")
    body = {"ackIds": [pull(pubsub, subscription)[0]["ackId"]], "ackDeadlineSeconds": 0}
    pubsub.projects().subscriptions().modifyAckDeadline(subscription=subscription, body=body).execute()
    assert pull(pubsub, subscription)[0]["message"]["messageId"] == ids[0]


def test_a_subscription_keeps_its_settings(pubsub, subscribe):
    subscription = subscribe(ackDeadlineSeconds=30, expirationPolicy={})
    resource = pubsub.projects().subscriptions()
    read = resource.get(subscription=subscription).execute()
    assert read["ackDeadlineSeconds"] == 30 and read["expirationPolicy"] == {}
    change = {"subscription": {"ackDeadlineSeconds": 60}, "updateMask": "ackDeadlineSeconds"}
    assert resource.patch(name=subscription, body=change).execute()["ackDeadlineSeconds"] == 60
    assert status(resource.create(name=subscription, body={"topic": read["topic"]})) == 409


def test_a_push_that_is_refused_comes_again(pubsub, topic, subscribe, endpoint):
    endpoint.answers.put(500)
    subscribe(pushConfig={"pushEndpoint": endpoint.url})
    ids = publish(pubsub, topic, "again")
    pushes = [endpoint.next()[1]["message"] for _ in range(2)]
    assert [push["messageId"] for push in pushes] == ids * 2
    assert pushes[0] == pushes[1] and pushes[0]["message_id"] == ids[0]
    assert pushes[0]["publishTime"] == pushes[0]["publish_time"]
