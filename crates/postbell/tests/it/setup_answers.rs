//! What a person enters in `postbell setup`, and what it finds by itself.

use crate::setup::{MAILBOX, World};

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_browser_elsewhere_is_pasted_while_setup_listens() {
    let world = World::new().await;
    let arguments = ["--pull", "--client", "client.json", "--mailbox", MAILBOX];
    let mut terminal = world.terminal(&arguments, &[("BROWSER", "/bin/false")]);
    terminal.answer("URL of the bot's webhook", "").await;
    let paste = "paste it here";
    terminal.wait_for(paste).await;
    terminal.type_in("http://127.0.0.1:1/?state=other&code=other\r");
    terminal.wait_for("belongs to another").await;
    let back = world.consent_at_last_page(&terminal).await;
    terminal.type_in(&format!("{back}\r"));
    terminal.answer("Apply these changes?", "").await;
    terminal.wait_for_times(paste, 2).await;
    let back = world.consent_at_last_page(&terminal).await;
    terminal.type_in(&format!("{back}\r"));
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, 0, "{}", seen.screen);
    for secret in world.secrets() {
        assert!(!seen.all.contains(&secret), "{secret} was on the screen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_found_and_what_was_entered_survives_an_interruption() {
    let world = World::new().await;
    let home = world.home.path();
    std::fs::create_dir(home.join("Downloads")).unwrap();
    // As long as Google's names are: a terminal would break it anywhere.
    let client = "500000000001-a1d2bf85b69beb38184b18e9654628da";
    let name = format!("client_secret_{client}.apps.googleusercontent.com.json");
    let downloaded = home.join("Downloads").join(name);
    std::fs::rename(home.join("client.json"), downloaded).unwrap();
    let hook = world.sandbox.bot().hook_url();
    let variables = [("POSTBELL_WATCH_HOOK_TOKEN", "")];
    let mut terminal = world.terminal(&["--pull", "--mailbox", MAILBOX], &variables);
    terminal
        .answer("URL of the bot's webhook", "nonsense")
        .await;
    terminal.wait_for("Expected a URL").await;
    // Ctrl-W deletes the word, and Ctrl-U the line.
    let corrected = format!("not this\x17\x15{hook}");
    terminal
        .answer("URL of the bot's webhook", &corrected)
        .await;
    let token = world.sandbox.bot().token();
    terminal.answer("Bearer token of the webhook", token).await;
    terminal.wait_for("Another file").await;
    let unbroken = |screen: &str| screen.matches(&client[13..]).count();
    let screen = terminal.seen().screen;
    assert_eq!(unbroken(&screen), 1, "{screen}");
    terminal.answer("Which file is the OAuth client?", "").await;
    terminal.wait_for("Changes:").await;
    let screen = terminal.seen().screen;
    assert_eq!(unbroken(&screen), 2, "{screen}");
    terminal.wait_for("Apply these changes?").await;
    terminal.type_in("\x03");
    assert_eq!(terminal.ended().await.0, 1);

    let mut terminal = world.terminal(&[], &[]);
    terminal.answer("Apply these changes?", "").await;
    // A terminal that is closed at the last question ends setup, which is complete.
    terminal
        .wait_for("Run the watcher as a service of your user")
        .await;
    terminal.hang_up();
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, 0, "{}", seen.screen);
    assert!(seen.screen.contains(&hook), "{}", seen.screen);
    assert!(!seen.all.contains(token), "the token was on the screen");
}
