//! Base URLs of Google's services.

use url::Url;

/// Base URLs of Google's services. Only tests and the sandbox change them.
#[derive(Clone, Debug)]
pub struct GoogleUrls {
    /// OAuth consent page.
    pub auth: Url,
    /// OAuth token endpoint; the revocation endpoint is next to it.
    pub token: Url,
    /// Gmail API.
    pub gmail: Url,
    /// Pub/Sub API.
    pub pubsub: Url,
    /// IAM API.
    pub iam: Url,
    /// Cloud Resource Manager API.
    pub resource_manager: Url,
    /// Service Usage API.
    pub service_usage: Url,
}
