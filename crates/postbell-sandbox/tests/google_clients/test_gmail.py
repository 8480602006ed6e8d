import base64

import pytest
from googleapiclient.errors import HttpError

MAIL = (
    b"From: Bj\xc3\xb6rn <b@example.org>\r\nTo: a@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHallo!\r\n"
    b"--x\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename=p.png\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n--x--\r\n"
)


def plain(number):
    return f"Subject: mail {number}\r\n\r\nNumber {number}.\r\n".encode()


def decode(data):
    return base64.urlsafe_b64decode(data)


def headers(message):
    return {header["name"]: header["value"] for header in message["payload"]["headers"]}


def failure(request, **arguments):
    with pytest.raises(HttpError) as caught:
        request.execute(**arguments)
    return caught.value


def all_pages(resource, list_of, **arguments):
    request = resource.list(**arguments)
    pages = []
    while request is not None:
        page = request.execute()
        pages.append(page.get(list_of, []))
        request = resource.list_next(request, page)
    return pages


def test_the_profile_names_the_mailbox_and_how_far_it_has_come(sandbox, gmail, email):
    before = gmail.getProfile(userId="me").execute()
    delivered = sandbox.deliver(email, plain(1))
    after = gmail.getProfile(userId=email).execute()
    assert after["emailAddress"] == email
    assert after["historyId"] == delivered["historyId"] and int(after["historyId"]) > int(before["historyId"])
    assert after["messagesTotal"] == 1


def test_history_is_paged_to_the_end_oldest_first(sandbox, gmail, email):
    start = gmail.getProfile(userId="me").execute()["historyId"]
    sent = [sandbox.deliver(email, plain(number))["id"] for number in range(25)]
    pages = all_pages(
        gmail.history(), "history", userId="me", startHistoryId=start, historyTypes=["messageAdded"], maxResults=10
    )
    assert [len(page) for page in pages] == [10, 10, 5]
    added = [record["messagesAdded"][0]["message"] for page in pages for record in page]
    assert [message["id"] for message in added] == sent
    assert all("INBOX" in message["labelIds"] for message in added)


def test_history_without_change_has_no_records(gmail):
    start = gmail.getProfile(userId="me").execute()["historyId"]
    assert gmail.history().list(userId="me", startHistoryId=start).execute() == {"historyId": start}


def test_history_can_be_narrowed_by_label_and_type(sandbox, gmail, email):
    start = gmail.getProfile(userId="me").execute()["historyId"]
    sandbox.deliver(email, plain(1))
    ask = {"userId": "me", "startHistoryId": start}
    assert "history" not in gmail.history().list(**ask, labelId="SPAM").execute()
    assert "history" not in gmail.history().list(**ask, historyTypes=["messageDeleted"]).execute()
    assert len(gmail.history().list(**ask, labelId="INBOX").execute()["history"]) == 1


def test_history_that_is_too_old_is_not_found(sandbox, gmail, email):
    start = gmail.getProfile(userId="me").execute()["historyId"]
    sandbox.deliver(email, plain(1))
    sandbox.post(f"/sandbox/mailboxes/{email}/expire-history")
    error = failure(gmail.history().list(userId="me", startHistoryId=start))
    assert error.status_code == 404 and error.error_details[0]["reason"] == "notFound"


def test_a_message_comes_in_every_format(sandbox, gmail, email):
    id = sandbox.deliver(email, MAIL)["id"]
    get = lambda **how: gmail.messages().get(userId="me", id=id, **how).execute()

    full = get()
    text, picture = full["payload"]["parts"]
    assert decode(text["body"]["data"]) == b"Hallo!"
    assert full["payload"]["mimeType"] == "multipart/mixed" and full["snippet"].startswith("Hallo!")
    assert headers(full)["Subject"] in ("Grüße", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    assert picture["filename"] == "p.png" and "data" not in picture["body"]
    attachment = gmail.messages().attachments().get(userId="me", messageId=id, id=picture["body"]["attachmentId"])
    assert decode(attachment.execute()["data"]) == b"\0\1\2\3"

    assert decode(get(format="raw")["raw"]) == MAIL
    metadata = get(format="metadata", metadataHeaders=["subject", "To"])
    assert set(headers(metadata)) == {"Subject", "To"} and "parts" not in metadata["payload"]
    assert "payload" not in get(format="minimal")


def test_messages_are_listed_latest_first_in_pages(sandbox, gmail, email):
    sent = [sandbox.deliver(email, plain(number))["id"] for number in range(5)]
    pages = all_pages(gmail.messages(), "messages", userId="me", maxResults=2)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [message["id"] for page in pages for message in page] == sent[::-1]
    assert "messages" not in gmail.messages().list(userId="me", q="after:99999999999").execute()
    assert len(gmail.messages().list(userId="me", q="after:1").execute()["messages"]) == 5


def test_a_mail_can_be_sent_and_inserted(sandbox, gmail, email):
    raw = base64.urlsafe_b64encode(f"To: {email}\r\nSubject: to me\r\n\r\n.".encode()).decode()
    sent = gmail.messages().send(userId="me", body={"raw": raw}).execute()
    assert sent["labelIds"] == ["SENT"]
    inserted = gmail.messages().insert(userId="me", body={"raw": raw, "labelIds": ["INBOX"]}).execute()
    labels = gmail.messages().get(userId="me", id=inserted["id"], format="minimal").execute()["labelIds"]
    assert labels == ["INBOX"]


def test_labels_are_listed(gmail):
    labels = {label["id"] for label in gmail.labels().list(userId="me").execute()["labels"]}
    assert {"INBOX", "SPAM", "TRASH", "SENT", "DRAFT"} <= labels


def test_a_watch_needs_a_topic_that_gmail_may_publish_to(sandbox, gmail, pubsub):
    watch = lambda topic: gmail.watch(userId="me", body={"topicName": topic, "labelIds": ["INBOX"]})
    assert failure(watch("projects/another/topics/topic")).status_code == 400
    missing = failure(watch("projects/sandbox-project/topics/missing"))
    assert missing.status_code == 404 and "Resource not found (resource=missing)" in str(missing)
    closed = failure(watch(sandbox.topic(pubsub, publishers=())))
    assert closed.status_code == 403 and "User not authorized to perform this action" in str(closed)

    begun = watch(sandbox.topic(pubsub)).execute()
    assert begun["historyId"].isdigit() and begun["expiration"].isdigit()
    other = failure(watch(sandbox.topic(pubsub)))
    assert other.status_code == 400 and "Only one user push notification client" in str(other)
    gmail.stop(userId="me").execute()
    watch(sandbox.topic(pubsub)).execute()


def test_another_mailbox_is_not_readable(gmail):
    assert failure(gmail.getProfile(userId="somebody@else.example")).status_code == 403


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "rateLimitExceeded"), (403, "rateLimitExceeded"), (500, "backendError")]
)
def test_faults_are_seen_as_gmails_own_and_end(sandbox, gmail, status, reason):
    fault = {"at": "gmail.profile", "kind": "refuse", "status": status, "often": {"times": 1}}
    sandbox.post("/sandbox/faults", json=fault)
    error = failure(gmail.getProfile(userId="me"))
    assert error.status_code == status and error.error_details[0]["reason"] == reason
    sandbox.post("/sandbox/faults", json=fault)
    assert gmail.getProfile(userId="me").execute(num_retries=2)
