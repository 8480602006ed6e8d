//! The whole run: an operator sets up, a user connects by one click, and mail arrives.

use std::path::Path;

use postbell::demo::DemoStack;
use postbell_sandbox::PROJECT;
use serde_json::{Value, json};
use tokio::process::Command;

use super::browser::Browser;
use super::{ENTER, IS_LIVE, TAB, look_at, sign_in};
use crate::platform::OurPlatform;
use crate::setup_platform::serve_with;
use crate::support::{Received, google_variables, run, send};

/// An access token of the project's owner, as `gcloud auth print-access-token` prints one.
async fn access_token(ours: &OurPlatform) -> String {
    let sandbox = &ours.world.sandbox;
    let grant = sandbox.oauth().grant("owner@example.com");
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &*grant.client_id),
        ("client_secret", &*grant.client_secret),
        ("refresh_token", &*grant.refresh_token),
    ];
    let url = format!("{}/token", sandbox.url());
    let answer = reqwest::Client::new().post(url).form(&form).send();
    let answer: Value = answer.await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// Runs `postbell setup --operator` with a client from the console, and returns the printed configuration as variables.
pub(crate) async fn set_up(ours: &OurPlatform, home: &Path) -> Vec<(&'static str, String)> {
    let sandbox = &ours.world.sandbox;
    let number = sandbox.cloud().put_project(PROJECT);
    let redirect = vec![ours.page("/bot/google/back")];
    let client = sandbox.oauth().add_web_client(PROJECT, &number, redirect);
    std::fs::write(home.join("web.json"), client.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    command
        .args(["setup", "--operator", "--yes", "--json"])
        .args(["--project", PROJECT, "--web-client", "web.json"])
        .args(["--pages", &ours.url(), "--relay", &ours.relay_url()])
        .env_clear()
        .envs(google_variables(sandbox.url()))
        .env("HOME", home)
        .env("POSTBELL_SETUP_ACCESS_TOKEN", access_token(ours).await)
        .current_dir(home);
    let (code, printed, shown) = run(&mut command).await;
    assert_eq!(code, Some(0), "{printed}{shown}");
    assert!(!printed.contains("GOCSPX-"), "{printed}");
    let events = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = events.filter_map(|event| event["configuration"].as_array().cloned());
    let lines: Vec<_> = lines
        .flatten()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect();
    let table: toml::Table = lines.join("\n").parse().unwrap();
    let value = |key: &str| table["google"]["client"][key].as_str().unwrap().to_owned();
    vec![
        ("POSTBELL_GOOGLE__CLIENT__CLIENT_ID", value("client_id")),
        (
            "POSTBELL_GOOGLE__CLIENT__CLIENT_SECRET_FILE",
            value("client_secret_file"),
        ),
        ("POSTBELL_GOOGLE__CLIENT__TOPIC", value("topic")),
        (
            "POSTBELL_GOOGLE__CLIENT__PUSH_ACCOUNT",
            value("push_account"),
        ),
    ]
}

/// The doctor expects the operator's one subscription.
async fn assert_doctor_knows(home: &Path, variables: Vec<(&'static str, String)>) {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_postbell"));
    doctor
        .args(["doctor", "ada", "--json"])
        .env_clear()
        .env("HOME", home)
        .envs(variables);
    let (_, found, errors) = run(&mut doctor).await;
    let found: Value = serde_json::from_str(&found).expect(&errors);
    let mut hops = found["hops"].as_array().unwrap().iter();
    let audience = hops.find(|hop| hop["hop"] == "audience").unwrap();
    assert!(
        audience["detail"].as_str().unwrap().contains("/push/gmail"),
        "{audience}"
    );
}

/// A second account, by keyboard; it has a card of its own.
async fn connect_another(world: &DemoStack, browser: &Browser) {
    world.sandbox.oauth().sit_at_the_browser("team@example.com");
    browser
        .press_until(TAB, "document.activeElement.id === 'connect-another'")
        .await;
    browser.press(&[ENTER]).await;
    browser.sees("Sign in to the sandbox").await;
    browser.click("button[value=yes]").await;
    browser
        .sees_toast("Your Google account is connected.")
        .await;
    browser.sees("team@example.com").await;
    look_at(browser, "two-accounts").await;
    browser
        .click("[aria-label='Disconnect team@example.com…']")
        .await;
    browser
        .click("[aria-label='Disconnect team@example.com']")
        .await;
    browser
        .sees_toast("Google has taken the permission back.")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_up_a_user_connects_by_one_click_and_mail_arrives() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let home = tempfile::tempdir().unwrap();
    let mut variables = ours.variables();
    variables.extend(google_variables(world.sandbox.url()));
    variables.extend(set_up(&ours, home.path()).await);
    let service = serve_with(&variables).await;
    ours.add_ada(&[]).await;
    world.sandbox.oauth().sit_at_the_browser(world.email());
    let mut hooks = world.sandbox.bot().subscribe();

    let browser = Browser::start().await;
    sign_in(&ours, &browser, &["ada"]).await;
    browser.sees("No Google account is connected").await;
    look_at(&browser, "connect-google").await;
    browser.click("#connect-google").await;
    browser.sees("Sign in to the sandbox").await;
    browser.click("button[value=no]").await;
    browser.sees("You cancelled on Google").await;
    look_at(&browser, "connect-cancelled").await;

    // Again, by keyboard.
    let button = "document.activeElement.tagName === 'BUTTON'";
    browser.press_until(TAB, button).await;
    browser.press(&[ENTER]).await;
    browser.sees("Sign in to the sandbox").await;
    browser.click("button[value=yes]").await;
    browser
        .sees_toast("Your Google account is connected.")
        .await;
    browser.until(IS_LIVE).await;
    browser.sees(world.email()).await;
    look_at(&browser, "connected").await;

    // Gmail pushes to the operator's one subscription.
    let mail = send(world, 1);
    let rows = "document.querySelectorAll('#deliveries .row').length";
    browser.until(&format!("{rows} > 0")).await;
    Received::default().wait_for(&[mail], &mut hooks).await;
    browser.sees("Notifications reach your bot").await;
    assert_doctor_knows(home.path(), variables).await;

    connect_another(world, &browser).await;
    browser.click("#disconnecting summary").await;
    browser.click("#disconnect").await;
    browser
        .sees_toast("Google has taken the permission back.")
        .await;
    let url = browser.run("return location.href", json!([])).await;
    assert!(!url.as_str().unwrap().contains("code="), "{url}");
    browser.close().await;
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}
