//! Google's answers to requests that setup cannot complete by itself. Each text and reason was seen in
//! public; the source is named if Google documents it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::{error_info, error_with_details};
use crate::fault_point::FaultPoint;
use crate::policy::conflict;

/// A condition that blocks setup.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Blocker {
    /// The account has not accepted Google Cloud's terms.
    TermsOfService,
    /// The organisation forbids outside members: `iam.allowedPolicyMemberDomains`
    /// (<https://cloud.google.com/resource-manager/docs/organization-policy/restricting-domains>).
    DomainRestrictedSharing,
    /// The API is not enabled, or its activation has not propagated.
    ServiceDisabled,
    /// The caller lacks the permission.
    PermissionDenied,
    /// The request needs a billing account, and the project has none.
    Billing,
    /// The account has reached its project quota.
    ProjectQuota,
    /// The policy was changed concurrently
    /// (<https://cloud.google.com/iam/docs/retry-strategy>).
    ConcurrentPolicyChange,
}

impl Blocker {
    /// The answer to a call at `point`.
    pub(crate) fn answer(self, point: FaultPoint) -> Response {
        if point == FaultPoint::ProjectCreate
            && let Some(error) = self.in_operation()
        {
            // Creating a project returns an operation, which fails instead of the call.
            let operation = json!({ "name": "operations/cp.1", "done": true, "error": error });
            return Json(operation).into_response();
        }
        match self {
            Self::TermsOfService => {
                let text = "Callers must accept Terms of Service";
                error_with_details(
                    403,
                    text,
                    "PERMISSION_DENIED",
                    json!([violation("TOS", "cloud")]),
                )
            }
            Self::DomainRestrictedSharing => {
                let text = "One or more users named in the policy do not belong to a permitted \
                    customer, perhaps due to an organization policy.";
                let member = "gmail-api-push@system.gserviceaccount.com";
                let violation = json!({
                    "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
                    "violations": [{
                        "type": "constraints/iam.allowedPolicyMemberDomains",
                        "subject": format!("orgpolicy:?configvalue={member}"),
                        "description": format!("User {member} is not in permitted organization."),
                    }],
                });
                error_with_details(400, text, "FAILED_PRECONDITION", json!([violation]))
            }
            Self::ServiceDisabled => service_disabled(point.service(), crate::PROJECT_NUMBER),
            Self::PermissionDenied => {
                let text = "The caller does not have permission";
                error_with_details(403, text, "PERMISSION_DENIED", json!([]))
            }
            Self::Billing => billing(),
            Self::ProjectQuota => {
                let text = "Quota exceeded.";
                error_with_details(429, text, "RESOURCE_EXHAUSTED", json!([]))
            }
            Self::ConcurrentPolicyChange => conflict(),
        }
    }

    /// The error of an operation (`google.rpc.Status`).
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
    error_with_details(400, &text, "FAILED_PRECONDITION", json!([info]))
}

/// The error for an API that is not enabled in the quota project
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
    error_with_details(403, &text, "PERMISSION_DENIED", json!([info]))
}

/// An API's title.
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
