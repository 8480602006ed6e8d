//! Each wall's own words: what it is, and the next move.

use super::{Trouble, Wall};

/// Where the console's pages are.
const CONSOLE: &str = "https://console.cloud.google.com";

/// What answers where somebody has to consent.
const BROWSER: &str = "a browser";

/// How every way out ends.
const AGAIN: &str = "Then run `postbell setup` again: it goes on from here.";

impl Trouble {
    /// What stands in the way, in a sentence without a full stop.
    #[must_use]
    pub fn what(&self) -> String {
        let text = match &self.wall {
            Wall::TermsOfService => "this account has not accepted Google Cloud's terms of service",
            Wall::OutsidersForbidden => {
                "the organisation lets nobody in from outside (iam.allowedPolicyMemberDomains), and \
                 Gmail's publisher is Google's own account"
            }
            Wall::ServiceDisabled => "an API that is needed is not enabled, or not yet everywhere",
            Wall::NoPermission => "the account that signed in may not do this",
            Wall::Billing => "the project has no billing account, and Google wants one for this",
            Wall::ProjectQuota => "this account has as many projects as it may have",
            Wall::ProjectTaken => "somebody has a project of this id, here or anywhere else",
            Wall::ProjectGone => "the project is being deleted",
            Wall::ClientFile(problem) => problem,
            Wall::ClientElsewhere { number } => {
                return format!(
                    "the OAuth client belongs to the project with the number {number}, and Gmail \
                     tells only topics of the client's own project"
                );
            }
            Wall::ConsentRefused(word) if word == "access_denied" => {
                "consent was refused on Google's page"
            }
            Wall::ConsentRefused(word) => {
                return format!("Google's page sent the browser back with `{word}`");
            }
            Wall::NobodyConsented => "nobody consented in time",
            Wall::NotTicked(scopes) => {
                return format!("not ticked on Google's page: {}", scopes.join("; "));
            }
            Wall::WrongAccount { wanted } => {
                return format!("another account consented than {wanted}");
            }
            Wall::GrantRevoked => "the grant was taken back, or has ended",
            Wall::ClientRefused(word) => {
                return format!("Google refuses the OAuth client ({word})");
            }
            Wall::TokenRefused => "Google does not take the access token, or not any more",
            Wall::ScopeMissing => "the grant does not cover this",
            Wall::PublisherRefused => "Gmail may not publish to the topic yet",
            Wall::MemberMissing => "an account that was just made is not seen everywhere yet",
            Wall::TopicElsewhere => "the topic is not in the project of the OAuth client",
            Wall::OtherWatch => "this mailbox tells another topic of the same project already",
            Wall::OtherTopic => "a subscription of this name is there, for another topic",
            Wall::NotSeen => "Google does not show what was made, or what it is made in",
            Wall::Unavailable => "Google is busy or out of reach",
            Wall::Conflict => "somebody else keeps changing the same policy",
            Wall::Unattended(flag) => return format!("there is no answer: expected {flag}"),
            Wall::Stopped => "stopped",
            Wall::Platform(problem) => problem,
            Wall::PlatformAway => "the platform is out of reach",
            Wall::Hook(problem) => problem,
            Wall::NotArrived => "the test notification did not come through in time",
            Wall::File(problem) => problem,
            Wall::Refused => "Google will not do it",
        };
        text.to_owned()
    }

    /// The next move, as a sentence or two.
    #[must_use]
    pub fn next(&self) -> String {
        self.in_the_console()
            .or_else(|| self.in_the_consent())
            .unwrap_or_else(|| self.elsewhere())
    }

    /// A page of the console, of the project where there is one.
    fn page(&self, path: &str) -> String {
        match &self.project {
            Some(project) => format!("{CONSOLE}/{path}?project={project}"),
            None => format!("{CONSOLE}/{path}"),
        }
    }

    /// What is mended in the console.
    fn in_the_console(&self) -> Option<String> {
        let text = match self.wall {
            Wall::TermsOfService => {
                format!("Open {CONSOLE}/ once with this account and accept the terms. {AGAIN}")
            }
            Wall::OutsidersForbidden => format!(
                "Ask an administrator of the organisation to relax \"Domain restricted sharing\" for \
                 this project at {} while you run `postbell setup` again, and to set it back then: \
                 what was granted stays. Or let `postbell watch pull` look every ten minutes, which \
                 needs no notifications.",
                self.page("iam-admin/orgpolicies/iam-allowedPolicyMemberDomains")
            ),
            Wall::ServiceDisabled => format!(
                "Wait some minutes, or see {} whether it is enabled. {AGAIN}",
                self.page("apis/dashboard")
            ),
            Wall::NoPermission => format!(
                "Ask an owner of the project for the role Owner, or for Service Usage Admin, Pub/Sub \
                 Admin, Service Account Admin and Service Account User. Roles are given at {}. {AGAIN}",
                self.page("iam-admin/iam")
            ),
            Wall::Billing => format!(
                "Link a billing account at {} (what Postbell uses is within the free tier). {AGAIN}",
                self.page("billing/linkedaccount")
            ),
            Wall::ProjectQuota => format!(
                "Use a project that you have with --project ID, or delete one at \
                 {CONSOLE}/cloud-resource-manager. {AGAIN}"
            ),
            Wall::ProjectTaken => {
                "Choose another id with --project, or use that one if it is yours.".to_owned()
            }
            Wall::ProjectGone => format!(
                "Restore it at {CONSOLE}/cloud-resource-manager?pendingDeletion=true, or choose \
                 another one with --project."
            ),
            Wall::TopicElsewhere | Wall::ClientElsewhere { .. } => format!(
                "Make an OAuth client in the project itself at {} and give its file with --client. \
                 {AGAIN}",
                self.page("auth/clients")
            ),
            Wall::ClientFile(_) => format!(
                "Make a client of the type \"Desktop app\" at {}, download its JSON, and give it with \
                 --client FILE.",
                self.page("auth/clients/create")
            ),
            Wall::ClientRefused(_) => format!(
                "See {} whether the client is still there; its secret can be made anew. {AGAIN}",
                self.page("auth/clients")
            ),
            _ => return None,
        };
        Some(text)
    }

    /// What is mended by consenting, again or otherwise.
    fn in_the_consent(&self) -> Option<String> {
        let text = match &self.wall {
            Wall::ConsentRefused(_) => format!(
                "If Google said that access is blocked, the consent screen is in testing: add the \
                 account as a test user, or publish the app, at {}. {AGAIN}",
                self.page("auth/audience")
            ),
            Wall::NobodyConsented => format!(
                "If the browser is on another machine, use --no-browser. If Google said that access \
                 is blocked, add the account as a test user or publish the app at {}. {AGAIN}",
                self.page("auth/audience")
            ),
            Wall::NotTicked(_) => {
                format!("Consent again, and tick every box on Google's page. {AGAIN}")
            }
            Wall::WrongAccount { wanted } => format!(
                "Consent again, and choose {wanted} where Google asks for the account; or name the \
                 other one with --mailbox. {AGAIN}"
            ),
            Wall::GrantRevoked | Wall::ScopeMissing => {
                "Run `postbell setup` again, and consent once more.".to_owned()
            }
            Wall::TokenRefused => {
                "Get a new one, as `gcloud auth print-access-token` prints, or leave \
                 POSTBELL_SETUP_ACCESS_TOKEN out and sign in."
                    .to_owned()
            }
            _ => return None,
        };
        Some(text)
    }

    fn elsewhere(&self) -> String {
        match &self.wall {
            Wall::PublisherRefused => format!(
                "Wait some minutes; if it stays, see {} whether \
                 gmail-api-push@system.gserviceaccount.com is a publisher. {AGAIN}",
                self.page("cloudpubsub/topic/list")
            ),
            Wall::OtherWatch => {
                "Whatever set that watch up still needs it, or `postbell watch stop` ends it with its \
                 credentials. Then run `postbell setup` again."
                    .to_owned()
            }
            Wall::OtherTopic => {
                "Choose another name with --subscription, or delete that one.".to_owned()
            }
            Wall::Unattended(BROWSER) => {
                "Run it where somebody can consent in a browser. Once the mailbox's owner has, \
                 POSTBELL_SETUP_ACCESS_TOKEN does for the rest."
                    .to_owned()
            }
            Wall::Unattended(flag) => format!("Give {flag}, or run it where somebody can answer."),
            Wall::Stopped => "Run `postbell setup` again: it goes on from here.".to_owned(),
            Wall::Platform(_) => {
                "Ask the operator for a new token (`postbell users token USER`). Then run `postbell \
                 setup` again."
                    .to_owned()
            }
            Wall::PlatformAway => {
                "See whether its URL is right (--platform), and whether it runs.".to_owned()
            }
            Wall::Hook(_) => {
                "See whether the bot runs, and whether --hook-url and POSTBELL_WATCH_HOOK_TOKEN are \
                 its hook's. Then run `postbell setup` again with both."
                    .to_owned()
            }
            Wall::NotArrived => {
                "Run `postbell doctor`: it looks at each hop of the path.".to_owned()
            }
            Wall::Refused => "Mend what Google names, and run `postbell setup` again.".to_owned(),
            Wall::File(_) => "Mend that, and run `postbell setup` again.".to_owned(),
            _ => "Run `postbell setup` again in some minutes: it goes on from here.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wall_has_words_and_a_next_move_of_its_own() {
        let walls = [
            Wall::TermsOfService,
            Wall::OutsidersForbidden,
            Wall::ServiceDisabled,
            Wall::NoPermission,
            Wall::Billing,
            Wall::ProjectQuota,
            Wall::ProjectTaken,
            Wall::ProjectGone,
            Wall::ClientElsewhere {
                number: "1".to_owned(),
            },
            Wall::ConsentRefused("access_denied".to_owned()),
            Wall::NobodyConsented,
            Wall::NotTicked(vec!["to read mail"]),
            Wall::WrongAccount {
                wanted: "ann@example.com".to_owned(),
            },
            Wall::PublisherRefused,
            Wall::OtherWatch,
            Wall::OtherTopic,
            Wall::NotArrived,
            Wall::TokenRefused,
        ];
        let told: Vec<_> = walls
            .into_iter()
            .map(|wall| {
                let trouble = Trouble::new(wall).in_project(Some("p"));
                (trouble.what(), trouble.next())
            })
            .collect();
        for (index, (what, next)) in told.iter().enumerate() {
            assert!(
                !what.ends_with('.') && next.ends_with(['.', '`']),
                "{what} {next}"
            );
            let alike = told
                .iter()
                .filter(|other| other.0 == *what || other.1 == *next);
            assert_eq!(alike.count(), 1, "{index}: {what}");
        }
    }

    #[test]
    fn a_page_is_that_of_the_project() {
        let trouble = Trouble::new(Wall::Billing).in_project(Some("my-project"));
        assert!(
            trouble
                .next()
                .contains("billing/linkedaccount?project=my-project")
        );
    }
}
