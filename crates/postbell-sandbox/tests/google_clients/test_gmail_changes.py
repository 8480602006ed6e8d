"""Changes of mail, batches and partial answers, by Google's client of its REST APIs."""

import pytest
from conftest import PROJECT
from googleapiclient.http import BatchHttpRequest
from test_gmail import failure, plain


@pytest.fixture
def start(gmail):
    return gmail.getProfile(userId="me").execute()["historyId"]


def changes(gmail, start, kind):
    """The changes of one kind since then, as message id and labels."""
    history = gmail.history().list(userId="me", startHistoryId=start, historyTypes=[kind]).execute().get("history", [])
    return [(one["message"]["id"], one["labelIds"]) for record in history for one in record[kind.replace("label", "labels")]]


def test_labels_that_come_and_go_are_in_the_history(sandbox, gmail, email, start):
    id = sandbox.deliver(email, plain(1))["id"]
    label = gmail.labels().create(userId="me", body={"name": "Invoices"}).execute()["id"]
    body = {"addLabelIds": [label], "removeLabelIds": ["UNREAD"]}
    changed = gmail.messages().modify(userId="me", id=id, body=body).execute()
    assert set(changed["labelIds"]) == {"INBOX", label}
    assert changes(gmail, start, "labelAdded") == [(id, [label])]
    assert changes(gmail, start, "labelRemoved") == [(id, ["UNREAD"])]
    gmail.messages().modify(userId="me", id=id, body=body).execute()
    assert len(changes(gmail, start, "labelAdded")) == 1, "nothing changed"
    unknown = failure(gmail.messages().modify(userId="me", id=id, body={"addLabelIds": ["Label_99"]}))
    assert unknown.status_code == 400 and "Invalid label" in str(unknown)
    gmail.labels().delete(userId="me", id=label).execute()
    assert label not in gmail.messages().get(userId="me", id=id, format="minimal").execute()["labelIds"]


def test_trash_takes_a_mail_from_the_inbox_and_gives_it_back(sandbox, gmail, email, start):
    id = sandbox.deliver(email, plain(1))["id"]
    assert "TRASH" in gmail.messages().trash(userId="me", id=id).execute()["labelIds"]
    assert "messages" not in gmail.messages().list(userId="me").execute()
    assert changes(gmail, start, "labelAdded") == [(id, ["TRASH"])]
    assert "TRASH" not in gmail.messages().untrash(userId="me", id=id).execute()["labelIds"]
    assert failure(gmail.messages().delete(userId="me", id=id)).status_code == 403, "needs the scope mail.google.com"


def test_a_change_of_labels_is_published(sandbox, gmail, pubsub, email):
    id = sandbox.deliver(email, plain(1))["id"]
    topic = sandbox.topic(pubsub)
    subscription = topic.replace("/topics/", "/subscriptions/")
    pubsub.projects().subscriptions().create(name=subscription, body={"topic": topic}).execute()
    gmail.watch(userId="me", body={"topicName": topic}).execute()
    gmail.messages().batchModify(userId="me", body={"ids": [id], "removeLabelIds": ["UNREAD"]}).execute()
    pulled = pubsub.projects().subscriptions().pull(subscription=subscription, body={"maxMessages": 10}).execute()
    assert len(pulled["receivedMessages"]) == 2, "the watch's first notification, and the change"


def test_each_project_has_a_watch_of_its_own(sandbox, email):
    subscriptions = []
    for project in (PROJECT, sandbox.name("project")):
        credentials = sandbox.credentials(email, **({"project": project} if project != PROJECT else {}))
        services = {"serviceIds": ["gmail.googleapis.com", "pubsub.googleapis.com"]}
        enabling = sandbox.client_of("serviceusage", credentials).services()
        enabling.batchEnable(parent=f"projects/{project}", body=services).execute()
        pubsub = sandbox.client_of("pubsub", credentials)
        topic = sandbox.topic(pubsub, project=project)
        subscription = topic.replace("/topics/", "/subscriptions/")
        pubsub.projects().subscriptions().create(name=subscription, body={"topic": topic}).execute()
        sandbox.client_of("gmail", credentials).users().watch(userId="me", body={"topicName": topic}).execute()
        subscriptions.append((pubsub.projects().subscriptions(), subscription))
    sandbox.deliver(email, plain(1))
    for of_project, subscription in subscriptions:
        pulled = of_project.pull(subscription=subscription, body={"maxMessages": 10}).execute()
        assert len(pulled["receivedMessages"]) == 2, "the watch's first notification, and the mail"


def test_a_thread_is_listed_read_and_changed_as_one(sandbox, gmail, email):
    first = sandbox.deliver(email, b"Message-ID: <1@x>\r\nSubject: hi\r\n\r\nFirst.\r\n")
    sandbox.deliver(email, b"In-Reply-To: <1@x>\r\nSubject: Re: hi\r\n\r\nSecond.\r\n")
    other = sandbox.deliver(email, plain(3))
    threads = gmail.threads().list(userId="me").execute()["threads"]
    assert [thread["id"] for thread in threads] == [other["threadId"], first["threadId"]]
    assert len(gmail.threads().get(userId="me", id=first["threadId"]).execute()["messages"]) == 2
    body = {"removeLabelIds": ["UNREAD"]}
    changed = gmail.threads().modify(userId="me", id=first["threadId"], body=body).execute()
    assert [message["labelIds"] for message in changed["messages"]] == [["INBOX"]] * 2
    gmail.threads().trash(userId="me", id=first["threadId"]).execute()
    assert len(gmail.threads().list(userId="me").execute()["threads"]) == 1
    assert failure(gmail.threads().trash(userId="me", id="0")).status_code == 404


def test_a_batch_makes_each_call(sandbox, gmail, email):
    ids = [sandbox.deliver(email, plain(number))["id"] for number in range(3)]
    answers = {}
    batch = BatchHttpRequest(
        lambda id, answer, error: answers.update({id: error.status_code if error else answer["id"]}),
        sandbox.url + "/batch/gmail/v1",
    )
    for id in [*ids, "missing"]:
        batch.add(gmail.messages().get(userId="me", id=id, format="minimal"), request_id=id)
    batch.add(gmail.messages().modify(userId="me", id=ids[0], body={"removeLabelIds": ["UNREAD"]}), request_id="modify")
    batch.execute()
    assert answers == {**{id: id for id in ids}, "missing": 404, "modify": ids[0]}
    assert gmail.messages().get(userId="me", id=ids[0]).execute()["labelIds"] == ["INBOX"]


def test_only_the_wanted_fields_are_answered(sandbox, gmail, email):
    id = sandbox.deliver(email, plain(1))["id"]
    read = gmail.messages().get(userId="me", id=id, fields="id,payload/headers(name)").execute()
    assert set(read) == {"id", "payload"} and set(read["payload"]) == {"headers"}
    assert all(set(header) == {"name"} for header in read["payload"]["headers"])
    assert failure(gmail.messages().get(userId="me", id=id, fields="payload(")).status_code == 400
