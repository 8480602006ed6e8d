import jwt
import pytest
from conftest import PROJECT
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2.id_token import verify_token

ACCOUNT = "push@sandbox-project.iam.gserviceaccount.com"
AUDIENCE = "https://push.example.com/push/user/ann"
CERTS = ["/oauth2/v1/certs", "/oauth2/v3/certs"]

# Which one it is depends on the form of the keys.
REFUSED = (GoogleAuthError, ValueError, jwt.PyJWTError)


def verify(sandbox, token, certs, audience=AUDIENCE):
    return verify_token(token, Request(), audience=audience, certs_url=sandbox.url + certs)


@pytest.fixture
def pushed_token(sandbox, pubsub, endpoint):
    """The token of a push as it comes to its endpoint."""
    topic = sandbox.topic(pubsub)
    name = f"projects/{PROJECT}/subscriptions/{sandbox.name('subscription')}"
    token = {"serviceAccountEmail": ACCOUNT, "audience": AUDIENCE}
    body = {"topic": topic, "pushConfig": {"pushEndpoint": endpoint.url, "oidcToken": token}}
    pubsub.projects().subscriptions().create(name=name, body=body).execute()

    def push():
        messages = {"messages": [{"data": "aGk="}]}
        pubsub.projects().topics().publish(topic=topic, body=messages).execute()
        scheme, token = endpoint.next()[0]["authorization"].split()
        assert scheme == "Bearer"
        return token

    return push


@pytest.mark.parametrize("certs", CERTS)
def test_googles_own_check_accepts_the_token_of_a_push(sandbox, pushed_token, certs):
    token = pushed_token()
    claims = verify(sandbox, token, certs)
    assert claims["email"] == ACCOUNT and claims["email_verified"] is True
    assert claims["iss"] == "https://accounts.google.com" and claims["azp"] == claims["sub"]
    assert pushed_token() == token, "one token serves many pushes"


@pytest.mark.parametrize("certs", CERTS)
def test_the_token_is_worthless_for_another_audience(sandbox, pushed_token, certs):
    with pytest.raises(REFUSED):
        verify(sandbox, pushed_token(), certs, audience=AUDIENCE + "x")


@pytest.mark.parametrize("certs", CERTS)
def test_after_a_rotation_both_keys_are_good(sandbox, pushed_token, certs):
    before = pushed_token()
    sandbox.post("/sandbox/keys/rotate")
    after = pushed_token()
    assert before.split(".")[0] != after.split(".")[0]
    for token in (before, after):
        assert verify(sandbox, token, certs)["email"] == ACCOUNT
    sandbox.post("/sandbox/keys/rotate")
    with pytest.raises(REFUSED):
        verify(sandbox, before, certs)
