//! Runs all checks.

use postbell_google::{Api, Projects};
use tokio::time::timeout;

use crate::checker::{Checker, Deps, Project};
use crate::checks;
use crate::facts::{Account, Destination, Facts, SetupState};
use crate::platform;
use crate::report::{CheckResult, HopId, Report};

/// Checks every hop of the path.
pub async fn run_checks(deps: &Deps, facts: &Facts) -> Report {
    let setup = relevant_setup(facts);
    let remote = match (&facts.account, &setup.destination) {
        (
            None,
            Some(Destination::Platform {
                platform,
                user,
                is_further,
                ..
            }),
        ) => {
            let further = setup.mailbox.as_ref().filter(|_| *is_further);
            let token = facts.user_token.as_ref();
            Some(platform::account(deps, token, platform, user, further).await)
        }
        _ => None,
    };
    let account = facts.account.as_ref().or(remote.as_ref());
    let project = project(deps, &setup, account).await;
    let checker = Checker {
        deps,
        facts,
        setup,
        account,
        project,
    };
    check_all(&checker).await
}

async fn check_all(checker: &Checker<'_>) -> Report {
    let (keys, clock, address, google, grant, machine, webhook) = tokio::join!(
        checks::keys::check(checker),
        checks::clock::check(checker),
        checks::endpoint::check(checker),
        checks::google::check(checker),
        checks::grant::check(checker),
        checks::machine::check(checker),
        checks::webhook::check(checker),
    );
    let mut hops = vec![
        (HopId::Configuration, checker.facts.configuration.clone()),
        (HopId::Keys, keys),
        (HopId::Clock, clock),
        (HopId::Address, address),
        (HopId::Audience, checks::endpoint::audience(checker)),
        (HopId::Watch, checks::watch::check(checker)),
        (HopId::Grant, grant),
        (HopId::User, checks::user::check(checker)),
    ];
    hops.extend(checks::database::check(checker).map(|result| (HopId::Database, result)));
    hops.extend(google);
    let has_webhook = webhook.is_some();
    hops.extend(
        machine
            .into_iter()
            .filter(|(hop, _)| *hop != HopId::Hook || !has_webhook),
    );
    hops.extend(webhook.map(|webhook| (HopId::Hook, webhook)));
    hops.extend(checks::history::check(checker));
    hops.sort_by_key(|(hop, _)| *hop);
    Report { hops }
}

/// The state of setup if it is about the checked user. Otherwise only the destination is known, from
/// the configuration.
fn relevant_setup(facts: &Facts) -> SetupState {
    if facts.is_setup_relevant() {
        return facts.setup.clone();
    }
    let configured = facts.user.clone().zip(facts.audience.clone());
    let account = facts.account.as_ref().and_then(|it| it.as_ref().ok());
    let owner = account.and_then(|account| account.owner.clone());
    let is_further = owner.is_some();
    let email = account.and_then(|account| account.email.as_ref());
    SetupState {
        // It is part of the names of what setup makes.
        mailbox: email.and_then(|email| email.parse().ok()),
        destination: configured.map(|(user, relay)| Destination::Platform {
            platform: relay.clone(),
            relay,
            user: owner.unwrap_or(user),
            is_further,
        }),
        ..SetupState::empty()
    }
}

/// The project that setup used, else the one in the push account's address.
async fn project(
    deps: &Deps,
    setup: &SetupState,
    account: Option<&Result<Account, CheckResult>>,
) -> Option<Project> {
    let account = account.and_then(|account| account.as_ref().ok());
    let push_account = account.and_then(|account| account.push_account.as_deref());
    let of_account = push_account.and_then(|email| {
        let (_, domain) = email.split_once('@')?;
        domain.strip_suffix(".iam.gserviceaccount.com")
    });
    let id = setup.project.as_deref().or(of_account)?.to_owned();
    let number = match &setup.project_number {
        Some(number) => number.clone(),
        None => project_number(deps, &id).await.unwrap_or_default(),
    };
    Some(Project { id, number })
}

async fn project_number(deps: &Deps, id: &str) -> Option<String> {
    let url = deps.google.resource_manager.clone();
    let projects = Projects::new(Api::new(deps.client.clone(), url, deps.admin.clone()?));
    let found = timeout(deps.time_limit, projects.get(id))
        .await
        .ok()?
        .ok()?;
    Some(found.number().to_owned())
}
