//! What Google says where a person stands before a wall. Each text and each reason is one that was
//! seen in the open; where Google documents it, the source is named.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::faults::Place;
use crate::policy::conflict;
use crate::refusal::{error_info, refusal_with};

/// What keeps a person from what they want.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Wall {
    /// The account has never accepted Google Cloud's terms.
    TermsOfService,
    /// The organisation lets nobody in from outside: `iam.allowedPolicyMemberDomains`
    /// (<https://cloud.google.com/resource-manager/docs/organization-policy/restricting-domains>).
    DomainRestrictedSharing,
    /// The API is not enabled, or not yet everywhere.
    ServiceDisabled,
    /// The caller may not.
    PermissionDenied,
    /// The project has no billing account, and what is wanted needs one.
    Billing,
    /// The account has as many projects as it may have.
    ProjectQuota,
    /// Somebody else changed the policy meanwhile
    /// (<https://cloud.google.com/iam/docs/retry-strategy>).
    ConcurrentPolicyChange,
}

impl Wall {
    /// What a call at `place` is answered.
    pub(crate) fn answer(self, place: Place) -> Response {
        if place == Place::ProjectCreate
            && let Some(error) = self.in_operation()
        {
            // A project is made by an operation, which fails instead of the call.
            let operation = json!({ "name": "operations/cp.1", "done": true, "error": error });
            return Json(operation).into_response();
        }
        match self {
            Self::TermsOfService => {
                let text = "Callers must accept Terms of Service";
                refusal_with(
                    403,
                    text,
                    "PERMISSION_DENIED",
                    json!([violation("TOS", "cloud")]),
                )
            }
            Self::DomainRestrictedSharing => {
                let text = "One or more users named in the policy do not belong to a permitted \
                    customer, perhaps due to an organization policy.";
                refusal_with(400, text, "FAILED_PRECONDITION", json!([]))
            }
            Self::ServiceDisabled => service_disabled(place.service(), crate::PROJECT_NUMBER),
            Self::PermissionDenied => {
                let text = "The caller does not have permission";
                refusal_with(403, text, "PERMISSION_DENIED", json!([]))
            }
            Self::Billing => billing(),
            Self::ProjectQuota => {
                let text = "Quota exceeded.";
                refusal_with(429, text, "RESOURCE_EXHAUSTED", json!([]))
            }
            Self::ConcurrentPolicyChange => conflict(),
        }
    }

    /// The same as the error of an operation (`google.rpc.Status`).
    fn in_operation(self) -> Option<Value> {
        match self {
            Self::TermsOfService => Some(json!({
                "code": 9,
                "message": "Callers must accept Terms of Service",
                "details": [violation("TOS", "cloud")],
            })),
            Self::ProjectQuota => Some(json!({
                "code": 8,
                "message": "The project cannot be created because you have exceeded your allotted \
                    project quota.",
            })),
            _ => None,
        }
    }
}

fn violation(kind: &str, subject: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
        "violations": [{ "type": kind, "subject": subject,
            "description": "Callers must accept Terms of Service" }],
    })
}

fn billing() -> Response {
    let text = format!(
        "Billing account for project '{0}' is not found. Billing must be enabled for activation of \
         service(s) 'pubsub.googleapis.com' to proceed.\nHelp Token: ARD_zUbF",
        crate::PROJECT_NUMBER
    );
    let metadata = json!({ "project": crate::PROJECT_NUMBER, "services": "pubsub.googleapis.com" });
    let domain = "serviceusage.googleapis.com/billing-enabled";
    let info = error_info("UREQ_PROJECT_BILLING_NOT_FOUND", domain, &metadata);
    refusal_with(400, &text, "FAILED_PRECONDITION", json!([info]))
}

/// An API that is not enabled in the project that a call is counted for
/// (<https://cloud.google.com/apis/docs/troubleshooting>).
pub(crate) fn service_disabled(service: &str, project_number: &str) -> Response {
    let title = title(service);
    let url = format!(
        "https://console.developers.google.com/apis/api/{service}/overview?project={project_number}"
    );
    let text = format!(
        "{title} has not been used in project {project_number} before or it is disabled. Enable it \
         by visiting {url} then retry. If you enabled this API recently, wait a few minutes for \
         the action to propagate to our systems and retry."
    );
    let metadata = json!({
        "service": service,
        "serviceTitle": title,
        "consumer": format!("projects/{project_number}"),
        "containerInfo": project_number,
        "activationUrl": url,
    });
    let info = error_info("SERVICE_DISABLED", "googleapis.com", &metadata);
    refusal_with(403, &text, "PERMISSION_DENIED", json!([info]))
}

/// What Google calls an API.
pub(crate) fn title(service: &str) -> &'static str {
    match service {
        "gmail.googleapis.com" => "Gmail API",
        "pubsub.googleapis.com" => "Cloud Pub/Sub API",
        "iam.googleapis.com" => "Identity and Access Management (IAM) API",
        "cloudresourcemanager.googleapis.com" => "Cloud Resource Manager API",
        "serviceusage.googleapis.com" => "Service Usage API",
        _ => "API",
    }
}
