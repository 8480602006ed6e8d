//! The user's next action for each blocker.

use crate::blocker::{BROWSER, Blocker};

const CONSOLE: &str = "https://console.cloud.google.com";

/// A page of the Google Cloud console, for a project if there is one.
pub(crate) fn console_page(path: &str, project: Option<&str>) -> String {
    match project {
        Some(project) => format!("{CONSOLE}/{path}?project={project}"),
        None => format!("{CONSOLE}/{path}"),
    }
}

pub(crate) const RERUN: &str = "Then run the same command again; it continues where it stopped.";

/// The next action, in one or two sentences.
pub(crate) fn remedy(blocker: &Blocker, project: Option<&str>) -> String {
    let page = |path: &str| console_page(path, project);
    cloud_remedy(blocker, &page)
        .or_else(|| client_remedy(blocker, &page))
        .or_else(|| consent_remedy(blocker, &page))
        .or_else(|| platform_remedy(blocker))
        .unwrap_or_else(|| other_remedy(blocker, &page))
}

/// Blockers that are resolved in the Google Cloud console.
fn cloud_remedy(blocker: &Blocker, page: &dyn Fn(&str) -> String) -> Option<String> {
    Some(match blocker {
        Blocker::TermsOfService => {
            format!("Open {CONSOLE}/ with this account and accept the terms. {RERUN}")
        }
        Blocker::OrgPolicy => format!(
            "Ask an organization administrator to relax the policy for this project at {} while you run \
             `postbell setup` again. Existing roles stay when the policy is restored. Or use `postbell \
             watch pull` without notifications; it polls every ten minutes.",
            page("iam-admin/orgpolicies/list")
        ),
        Blocker::ApiDisabled => format!(
            "Wait some minutes, or check that the API is enabled at {}. {RERUN}",
            page("apis/dashboard")
        ),
        Blocker::PermissionDenied => format!(
            "Ask a project owner for the role Owner, or for Service Usage Admin, Pub/Sub Admin, \
             Service Account Admin and Service Account User, at {}. {RERUN}",
            page("iam-admin/iam")
        ),
        Blocker::BillingRequired => format!(
            "Link a billing account at {} (Postbell's usage is within the free tier). {RERUN}",
            page("billing/linkedaccount")
        ),
        Blocker::ProjectQuota => format!(
            "Use an existing project with --project ID, or delete one at \
             {CONSOLE}/cloud-resource-manager. {RERUN}"
        ),
        Blocker::ProjectIdTaken => {
            "Choose another id with --project. If the project is yours, omit --create-project."
                .to_owned()
        }
        Blocker::ProjectDeleted => format!(
            "Restore it at {CONSOLE}/cloud-resource-manager?pendingDeletion=true, or choose another \
             one with --project."
        ),
        Blocker::PublisherDenied => format!(
            "Wait some minutes. If the error persists, check at {} that \
             gmail-api-push@system.gserviceaccount.com is a publisher. {RERUN}",
            page("cloudpubsub/topic/list")
        ),
        _ => return None,
    })
}

/// Blockers that another OAuth client resolves.
fn client_remedy(blocker: &Blocker, page: &dyn Fn(&str) -> String) -> Option<String> {
    Some(match blocker {
        Blocker::TopicInOtherProject | Blocker::ClientInOtherProject { .. } => format!(
            "Create an OAuth client in this project at {} and pass its file with --client. {RERUN}",
            page("auth/clients")
        ),
        Blocker::InvalidClientFile(_) => format!(
            "Create a client of the type \"Desktop app\" at {}, download its JSON, and enter its path \
             (--client FILE).",
            page("auth/clients/create")
        ),
        Blocker::InvalidWebClient(_) => format!(
            "Correct the client, or create one of the type \"Web application\", at {}. Download its JSON, and enter its \
             path (--web-client FILE).",
            page("auth/clients")
        ),
        Blocker::ClientRejected(_) => format!(
            "Check at {} that the client exists; a lost secret can be replaced there. {RERUN}",
            page("auth/clients")
        ),
        _ => return None,
    })
}

/// Blockers that another consent resolves.
fn consent_remedy(blocker: &Blocker, page: &dyn Fn(&str) -> String) -> Option<String> {
    Some(match blocker {
        Blocker::ConsentRefused(code) if code == "admin_policy_enforced" => format!(
            "Ask your organization's administrator to trust the app at \
             https://admin.google.com/ac/owl. Its client id is at {}. {RERUN}",
            page("auth/clients")
        ),
        Blocker::ConsentRefused(code) if code == "org_internal" => format!(
            "The app accepts only accounts of its own organization. Consent with one of those, or \
             set the audience to External at {}. {RERUN}",
            page("auth/audience")
        ),
        Blocker::ConsentRefused(_) => format!(
            "If Google said that access is blocked, the app is in testing: add the account as a test \
             user, or publish the app, at {}. {RERUN}",
            page("auth/audience")
        ),
        Blocker::ConsentTimeout => format!(
            "If the browser is on another computer, paste the address of its last page here. If Google said that access \
             is blocked, add the account as a test user or publish the app at {}. {RERUN}",
            page("auth/audience")
        ),
        Blocker::ScopesNotGranted(_) => {
            format!("Consent again and select every checkbox on Google's page. {RERUN}")
        }
        Blocker::WrongAccount { wanted } => format!(
            "Consent again as {wanted}, or select the other account with --mailbox. {RERUN}"
        ),
        Blocker::GrantRevoked | Blocker::ScopeMissing => {
            "Run the same command again and consent once more.".to_owned()
        }
        Blocker::TokenRejected => {
            "Get a new token from `gcloud auth print-access-token`, or unset \
             POSTBELL_SETUP_ACCESS_TOKEN and sign in."
                .to_owned()
        }
        _ => return None,
    })
}

/// Blockers that the platform's operator resolves.
fn platform_remedy(blocker: &Blocker) -> Option<String> {
    Some(match blocker {
        Blocker::PlatformToken => {
            "Ask the operator for a new token (`postbell users token USER`). Then run `postbell \
             setup` again."
                .to_owned()
        }
        Blocker::OtherUsersToken { wanted, .. } => format!(
            "Check --user, or ask the operator for a token of that user (`postbell users token {wanted}`). Then run \
             `postbell setup` again."
        ),
        Blocker::NoPlatform => {
            "Check --platform: it is the URL of the platform's own pages, and not that of its relay.".to_owned()
        }
        Blocker::PlatformUser => {
            "Check --platform and --user, and that the operator has added the user (`postbell users \
             add USER`)."
                .to_owned()
        }
        Blocker::PlatformKey(_) => format!(
            "Ask the operator to configure the platform's RSA key (platform.private_key_file). {RERUN}"
        ),
        Blocker::Platform(_) => {
            "Check --platform, and send this message to the operator.".to_owned()
        }
        Blocker::PlatformUnavailable => {
            "Check the platform's URL (--platform), and that the platform is running.".to_owned()
        }
        _ => return None,
    })
}

fn other_remedy(blocker: &Blocker, page: &dyn Fn(&str) -> String) -> String {
    match blocker {
        Blocker::WatchOnOtherTopic => {
            "Another application may use that watch. If not, stop it with `postbell watch stop` and \
             its credentials. Then run the same command again."
                .to_owned()
        }
        Blocker::SubscriptionOnOtherTopic => format!(
            "Choose another name with --subscription, or delete that subscription at {}.",
            page("cloudpubsub/subscription/list")
        ),
        Blocker::MissingInput(BROWSER) => {
            "Run setup where a user can consent in a browser. After the mailbox's owner has \
             consented once, POSTBELL_SETUP_ACCESS_TOKEN is enough."
                .to_owned()
        }
        Blocker::MissingInput(flag) => {
            format!("Pass {flag}, or run setup in a terminal.")
        }
        Blocker::Cancelled => {
            "Run the same command again; it continues where it stopped.".to_owned()
        }
        Blocker::Webhook(_) => {
            "Check that the bot is running, and that --hook-url, POSTBELL_WATCH_HOOK_TOKEN and, if it \
             verifies signatures, POSTBELL_WATCH_HOOK_SECRET match its webhook. Then run the \
             same command again with them."
                .to_owned()
        }
        Blocker::Endpoint(_) => format!(
            "Check that `postbell watch serve --verify-oidc` answers there, and that its --path is \
             the path of --serve. {RERUN}"
        ),
        Blocker::LoopbackPort(_) => {
            "Use --no-browser, which needs no port, and paste the address from the browser."
                .to_owned()
        }
        Blocker::Internal(_) => "Please report this as a bug, with this message.".to_owned(),
        Blocker::NotificationTimeout => {
            "Run `postbell doctor`; it checks each hop of the delivery path.".to_owned()
        }
        Blocker::Refused => {
            "Resolve what Google reports, and run the same command again.".to_owned()
        }
        Blocker::File(_) => "Resolve this, and run the same command again.".to_owned(),
        _ => "Run the same command again in some minutes; it continues where it stopped.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blockers() -> Vec<Blocker> {
        vec![
            Blocker::TermsOfService,
            Blocker::OrgPolicy,
            Blocker::ApiDisabled,
            Blocker::PermissionDenied,
            Blocker::BillingRequired,
            Blocker::ProjectQuota,
            Blocker::ProjectIdTaken,
            Blocker::ProjectDeleted,
            Blocker::ClientInOtherProject {
                number: "1".to_owned(),
            },
            Blocker::InvalidWebClient("no redirect".to_owned()),
            Blocker::ConsentRefused("access_denied".to_owned()),
            Blocker::ConsentRefused("admin_policy_enforced".to_owned()),
            Blocker::ConsentRefused("org_internal".to_owned()),
            Blocker::ConsentTimeout,
            Blocker::ScopesNotGranted(vec!["read mail"]),
            Blocker::WrongAccount {
                wanted: "ann@example.com".to_owned(),
            },
            Blocker::PublisherDenied,
            Blocker::WatchOnOtherTopic,
            Blocker::SubscriptionOnOtherTopic,
            Blocker::NotificationTimeout,
            Blocker::TokenRejected,
            Blocker::PlatformToken,
            Blocker::PlatformUser,
            Blocker::NoPlatform,
            Blocker::OtherUsersToken {
                actual: "ann".to_owned(),
                wanted: "anne".to_owned(),
            },
            Blocker::PlatformKey("no key"),
            Blocker::Platform("it answered 418".to_owned()),
            Blocker::PlatformUnavailable,
            Blocker::Webhook("the webhook answered 500".to_owned()),
            Blocker::Endpoint("the endpoint answers 400".to_owned()),
            Blocker::LoopbackPort("no port".to_owned()),
            Blocker::Internal("odd".to_owned()),
        ]
    }

    #[test]
    fn every_blocker_has_its_own_problem_and_remedy() {
        let texts: Vec<_> = blockers()
            .into_iter()
            .map(|blocker| (blocker.problem(), remedy(&blocker, Some("p"))))
            .collect();
        for (index, (problem, remedy)) in texts.iter().enumerate() {
            assert!(
                !problem.ends_with('.') && remedy.ends_with(['.', '`']),
                "{problem} {remedy}"
            );
            let alike = texts
                .iter()
                .filter(|other| other.0 == *problem || other.1 == *remedy);
            assert_eq!(alike.count(), 1, "{index}: {problem}");
        }
    }

    #[test]
    fn console_pages_name_the_project() {
        let remedy = remedy(&Blocker::BillingRequired, Some("my-project"));
        assert!(remedy.contains("billing/linkedaccount?project=my-project"));
    }
}
