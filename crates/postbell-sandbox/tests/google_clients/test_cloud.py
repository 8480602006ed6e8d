"""Projects, APIs and service accounts, as a setup tool uses them."""

import pytest
from conftest import PROJECT
from googleapiclient.errors import HttpError

NUMBER = "415104041262"
AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
TOKEN_CREATOR = "roles/iam.serviceAccountTokenCreator"


def refused(request):
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value


def reason(error):
    """What the details give as the reason."""
    return next(detail["reason"] for detail in error.error_details if "reason" in detail)


def fault(sandbox, at, wall, **often):
    sandbox.post("/sandbox/faults", json={"at": at, "kind": "wall", "wall": wall, "often": often or {"times": 1}})


@pytest.fixture
def projects(sandbox, email):
    return sandbox.client("cloudresourcemanager", email, "v3").projects()


@pytest.fixture
def services(sandbox, email):
    return sandbox.client("serviceusage", email)


@pytest.fixture
def accounts(sandbox, email):
    return sandbox.client("iam", email).projects().serviceAccounts()


@pytest.fixture
def account(sandbox, accounts):
    body = {"accountId": sandbox.name("gmail-push"), "serviceAccount": {"displayName": "Pushes"}}
    return accounts.create(name=f"projects/{PROJECT}", body=body).execute()


def test_a_project_is_made_by_an_operation_that_takes_its_time(sandbox, email, projects):
    sandbox.post("/sandbox/lag", json={"operations": 2})
    name = sandbox.name("project")
    made = projects.create(body={"projectId": name, "displayName": "Mail"}).execute()
    operations = sandbox.client("cloudresourcemanager", email, "v3").operations()
    looks = 0
    while not made.get("done"):
        made = operations.get(name=made["name"]).execute()
        looks += 1
    assert looks == 2 and made["response"]["projectId"] == name
    read = projects.get(name=f"projects/{name}").execute()
    assert read["state"] == "ACTIVE" and read["name"].startswith("projects/")
    assert refused(projects.create(body={"projectId": name})).status_code == 409
    projects.delete(name=f"projects/{name}").execute()
    assert projects.get(name=f"projects/{name}").execute()["state"] == "DELETE_REQUESTED"


def test_projects_are_found_page_by_page(sandbox, projects):
    names = {sandbox.name("page-project") for _ in range(3)}
    for name in names:
        sandbox.post(f"/sandbox/projects/{name}")
    found, page = set(), projects.search(pageSize=2)
    while page is not None:
        answer = page.execute()
        assert len(answer["projects"]) <= 2
        found |= {project["projectId"] for project in answer["projects"]}
        page = projects.search_next(page, answer)
    assert names <= found and PROJECT in found


def test_a_project_that_is_not_there_is_forbidden(projects):
    error = refused(projects.get(name="projects/no-such-project"))
    assert (error.status_code, error.reason) == (403, "The caller does not have permission")


def test_terms_that_were_not_accepted_fail_the_operation(sandbox, projects):
    fault(sandbox, "projects.create", "termsOfService")
    failed = projects.create(body={"projectId": sandbox.name("project")}).execute()
    assert failed["done"] and failed["error"]["code"] == 9
    assert failed["error"]["details"][0]["violations"][0]["type"] == "TOS"


def test_permissions_are_tested(sandbox, projects, pubsub):
    sandbox.post("/sandbox/permissions", json={"denied": ["pubsub.topics.create"]})
    asked = {"permissions": ["pubsub.topics.create", "serviceusage.services.enable"]}
    answer = projects.testIamPermissions(resource=f"projects/{PROJECT}", body=asked).execute()
    assert answer["permissions"] == ["serviceusage.services.enable"]


def test_apis_are_enabled_and_take_a_while_to_answer(sandbox, email, services):
    name = sandbox.name("project")
    sandbox.post(f"/sandbox/projects/{name}")
    of = services.services()
    wanted = ["gmail.googleapis.com", "pubsub.googleapis.com"]
    names = [f"projects/{name}/services/{service}" for service in wanted]
    states = of.batchGet(parent=f"projects/{name}", names=names).execute()["services"]
    assert [one["state"] for one in states] == ["DISABLED", "DISABLED"]
    sandbox.post("/sandbox/lag", json={"operations": 1})
    enabling = of.batchEnable(parent=f"projects/{name}", body={"serviceIds": wanted}).execute()
    assert not enabling.get("done")
    done = services.operations().get(name=enabling["name"]).execute()
    assert [one["state"] for one in done["response"]["services"]] == ["ENABLED", "ENABLED"]
    again = of.enable(name=names[0], body={}).execute()
    assert again["done"] and again["name"] == "operations/noop.DONE_OPERATION"
    of.disable(name=names[0], body={}).execute()
    assert of.get(name=names[0]).execute()["state"] == "DISABLED"


def test_an_api_that_is_off_says_how_to_enable_it(sandbox, pubsub):
    fault(sandbox, "topics.create", "serviceDisabled")
    create = pubsub.projects().topics().create(name=f"projects/{PROJECT}/topics/{sandbox.name('topic')}", body={})
    error = refused(create)
    assert (error.status_code, reason(error)) == (403, "SERVICE_DISABLED")


def test_billing_is_asked_for(sandbox, services):
    fault(sandbox, "services.enable", "billing")
    body = {"serviceIds": ["pubsub.googleapis.com"]}
    error = refused(services.services().batchEnable(parent=f"projects/{PROJECT}", body=body))
    assert (error.status_code, reason(error)) == (400, "UREQ_PROJECT_BILLING_NOT_FOUND")


def test_pubsub_gets_an_account_of_its_own(sandbox, email):
    name = sandbox.name("project")
    number = sandbox.post(f"/sandbox/projects/{name}").json()["projectNumber"]
    services = sandbox.client("serviceusage", email, "v1beta1").services()
    made = services.generateServiceIdentity(parent=f"projects/{number}/services/pubsub.googleapis.com").execute()
    assert made["response"]["email"] == f"service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"


def test_a_service_account_is_made_once_listed_and_deleted(accounts, account):
    body = {"accountId": account["email"].split("@")[0]}
    assert refused(accounts.create(name=f"projects/{PROJECT}", body=body)).status_code == 409
    listed = accounts.list(name=f"projects/{PROJECT}").execute()["accounts"]
    assert account["email"] in [one["email"] for one in listed]
    by_id = accounts.get(name=f"projects/-/serviceAccounts/{account['uniqueId']}").execute()
    assert by_id["email"] == account["email"] and by_id["displayName"] == "Pushes"
    accounts.delete(name=account["name"]).execute()
    assert refused(accounts.get(name=account["name"])).status_code == 404


def test_a_new_service_account_is_not_seen_at_once(sandbox, accounts):
    sandbox.post("/sandbox/lag", json={"accounts": 1})
    made = accounts.create(name=f"projects/{PROJECT}", body={"accountId": sandbox.name("account")}).execute()
    assert refused(accounts.get(name=made["name"])).status_code == 404
    assert accounts.get(name=made["name"]).execute()["email"] == made["email"]


def test_a_service_accounts_policy_is_read_changed_and_written(accounts, account):
    resource = {"resource": account["name"]}
    read = accounts.getIamPolicy(options_requestedPolicyVersion=3, **resource).execute()
    assert "bindings" not in read
    read["bindings"] = [{"role": TOKEN_CREATOR, "members": [AGENT]}]
    written = accounts.setIamPolicy(body={"policy": read}, **resource).execute()
    assert written["bindings"] == read["bindings"] and written["etag"] != read["etag"]
    error = refused(accounts.setIamPolicy(body={"policy": read}, **resource))
    assert error.status_code == 409 and "concurrent policy changes" in error.reason


def test_a_condition_needs_the_version_that_has_them(accounts, account):
    condition = {"title": "later", "expression": "request.time > timestamp('2030-01-01T00:00:00Z')"}
    policy = {"bindings": [{"role": TOKEN_CREATOR, "members": [AGENT], "condition": condition}]}
    assert refused(accounts.setIamPolicy(resource=account["name"], body={"policy": policy})).status_code == 400
    policy["version"] = 3
    written = accounts.setIamPolicy(resource=account["name"], body={"policy": policy}).execute()
    assert written["version"] == 3 and written["bindings"][0]["condition"] == condition


def test_an_agent_that_was_never_made_cannot_be_given_a_role(sandbox, accounts):
    name = sandbox.name("project")
    number = sandbox.post(f"/sandbox/projects/{name}").json()["projectNumber"]
    account = accounts.create(name=f"projects/{name}", body={"accountId": "gmail-push"}).execute()
    member = f"serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    body = {"policy": {"bindings": [{"role": TOKEN_CREATOR, "members": [member]}]}}
    error = refused(accounts.setIamPolicy(resource=account["name"], body=body))
    assert error.status_code == 400 and error.reason.endswith("does not exist.")


def test_an_organisation_may_let_nobody_in_from_outside(sandbox, pubsub):
    fault(sandbox, "topics.setIamPolicy", "domainRestrictedSharing")
    topic = f"projects/{PROJECT}/topics/{sandbox.name('topic')}"
    pubsub.projects().topics().create(name=topic, body={}).execute()
    error = refused(pubsub.projects().topics().setIamPolicy(resource=topic, body={"policy": {}}))
    assert error.status_code == 400 and "permitted customer" in error.reason
