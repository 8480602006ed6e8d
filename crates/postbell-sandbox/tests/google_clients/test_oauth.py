import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.exceptions import RefreshError
from google.oauth2 import service_account
from googleapiclient.discovery import build

SCOPE = "https://www.googleapis.com/auth/gmail.readonly"
REDIRECT = "http://127.0.0.1:1/back"


def test_a_service_account_reads_a_users_mail(sandbox, email):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = f"{sandbox.name('robot')}@sandbox-project.iam.gserviceaccount.com"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
    sandbox.post("/sandbox/service-accounts", json={"email": account, "publicKey": public})
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private = key.private_bytes(*plain).decode()
    info = {"client_email": account, "private_key": private, "token_uri": sandbox.url + "/token"}
    credentials = service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
    options = {"api_endpoint": sandbox.url}
    gmail = build(
        "gmail", "v1", credentials=credentials.with_subject(email), static_discovery=True, client_options=options
    )
    assert gmail.users().getProfile(userId="me").execute()["emailAddress"] == email

    stranger = service_account.Credentials.from_service_account_info(
        {**info, "client_email": "stranger@example.com"}, scopes=[SCOPE]
    )
    with pytest.raises(RefreshError):
        stranger.with_subject(email).refresh(google_request())


def google_request():
    from google.auth.transport.requests import Request

    return Request()


@pytest.fixture
def consent(sandbox, email):
    """Clicks through the consent page; gives what the token endpoint wants, but for the verifier."""
    client = sandbox.credentials(email)

    def consent(verifier, allow="yes"):
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": client.client_id,
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "scope": SCOPE,
            "state": "s",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": email,
        }
        page = sandbox.url + "/o/oauth2/v2/auth"
        assert "<button" in requests.get(page, params=query, timeout=30).text
        answer = requests.post(page, params=query, data={"allow": allow}, allow_redirects=False, timeout=30)
        assert answer.headers["location"].startswith(REDIRECT)
        back = parse_qs(urlsplit(answer.headers["location"]).query)
        assert back["state"] == ["s"]
        code = back.get("code", [None])[0]
        secret = {"client_id": client.client_id, "client_secret": client.client_secret}
        return back, {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, **secret}

    return consent


def exchange(sandbox, form):
    return requests.post(sandbox.url + "/token", data=form, timeout=30)


def test_a_code_with_its_verifier_gives_tokens_once(sandbox, consent):
    _, form = consent("a-long-enough-verifier")
    form["code_verifier"] = "a-long-enough-verifier"
    tokens = exchange(sandbox, form).json()
    assert tokens["refresh_token"] and tokens["scope"] == SCOPE and tokens["token_type"] == "Bearer"
    again = exchange(sandbox, form)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_a_code_without_its_verifier_gives_nothing(sandbox, consent):
    _, form = consent("a-long-enough-verifier")
    answer = exchange(sandbox, {**form, "code_verifier": "another"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_whoever_declines_is_sent_back_without_a_code(consent):
    back, _ = consent("a-long-enough-verifier", allow="no")
    assert back["error"] == ["access_denied"] and "code" not in back


def test_a_grant_that_was_taken_back_refreshes_no_more(sandbox, email):
    credentials = sandbox.credentials(email)
    credentials.refresh(google_request())
    sandbox.post(f"/sandbox/mailboxes/{email}/revoke")
    with pytest.raises(RefreshError) as caught:
        credentials.refresh(google_request())
    assert "invalid_grant" in str(caught.value)


def test_a_wrong_client_is_told_so(sandbox, email):
    credentials = sandbox.credentials(email)
    form = {
        "grant_type": "refresh_token",
        "refresh_token": credentials.refresh_token,
        "client_id": credentials.client_id,
        "client_secret": "wrong",
    }
    answer = exchange(sandbox, form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("how", ["params", "data"])
def test_a_token_is_revoked_in_the_url_or_in_a_form(sandbox, email, how):
    credentials = sandbox.credentials(email)
    credentials.refresh(google_request())
    sandbox.post("/revoke", **{how: {"token": credentials.token}})
    with pytest.raises(RefreshError):
        credentials.refresh(google_request())
    assert requests.post(sandbox.url + "/revoke", timeout=30).status_code == 400


def test_an_access_token_tells_what_it_allows(sandbox, email):
    credentials = sandbox.credentials(email)
    credentials.refresh(google_request())
    bearer = {"authorization": f"Bearer {credentials.token}"}
    for how in ({"params": {"access_token": credentials.token}}, {"headers": bearer}):
        told = sandbox.post("/tokeninfo", **how).json()
        assert told["email"] == email and CLOUD in told["scope"] and 0 < int(told["expires_in"]) <= 3599
    told = sandbox.client_of("oauth2", credentials, "v2").tokeninfo(access_token=credentials.token).execute()
    assert told["email"] == email and told["issued_to"] == credentials.client_id
    wrong = requests.get(sandbox.url + "/tokeninfo", params={"access_token": "wrong"}, timeout=30)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_token")


CLOUD = "https://www.googleapis.com/auth/cloud-platform"


@pytest.fixture
def flow(sandbox, email):
    """Google's own flow for desktop apps, but for the browser: `answer` is what the page's form sends."""
    from google_auth_oauthlib.flow import InstalledAppFlow

    project = sandbox.name("project")
    client = sandbox.post(f"/sandbox/projects/{project}/client").json()

    def flow(scopes, **answer):
        flow = InstalledAppFlow.from_client_config(client, scopes, redirect_uri="http://127.0.0.1:1/")
        flow.oauth2session.scope = scopes
        client_config = flow.client_config
        client_config["token_uri"] = sandbox.url + "/token"
        client_config["auth_uri"] = sandbox.url + "/o/oauth2/v2/auth"
        url, _ = flow.authorization_url(login_hint=email)
        form = {"allow": "yes", "granular": "yes", "account": email, "scope": scopes, **answer}
        back = requests.post(url, data=form, allow_redirects=False, timeout=30)
        return flow, back

    flow.project = project
    return flow


def test_a_downloaded_client_works_with_googles_own_flow(monkeypatch, flow):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    signed_in, back = flow([CLOUD])
    token = signed_in.fetch_token(authorization_response=back.headers["location"])
    assert token["scope"] == [CLOUD] and "refresh_token_expires_in" not in token


def test_a_scope_that_was_not_ticked_is_not_granted(monkeypatch, flow):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_RELAX_TOKEN_SCOPE", "1")
    signed_in, back = flow([SCOPE, CLOUD], scope=[CLOUD])
    token = signed_in.fetch_token(authorization_response=back.headers["location"])
    assert token["scope"] == [CLOUD]


def test_while_an_app_is_tested_grants_last_a_week_and_strangers_are_turned_away(
    monkeypatch, sandbox, email, flow
):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    sandbox.post(f"/sandbox/projects/{flow.project}/consent", json={"publishing": "testing", "testers": [email]})
    signed_in, back = flow([SCOPE])
    token = signed_in.fetch_token(authorization_response=back.headers["location"])
    assert token["refresh_token_expires_in"] == 604799
    _, back = flow([SCOPE], account="stranger@example.com")
    assert back.status_code == 403 and "access_denied" in back.text
