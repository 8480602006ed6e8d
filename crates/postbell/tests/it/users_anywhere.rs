//! Operators' commands on a platform elsewhere, with an API key.

use serde_json::Value;
use tokio::process::Command;

use crate::platform::OurPlatform;
use crate::support::run;

/// A computer that knows of the platform only its URL and a key.
struct Laptop<'a> {
    ours: &'a OurPlatform,
    key: String,
}

impl Laptop<'_> {
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .args(arguments)
            .args(["--platform", &self.ours.url()])
            .env_clear()
            .env("POSTBELL_OPERATOR_KEY", &self.key)
            .current_dir("/");
        run(&mut command).await
    }
}

async fn key(ours: &OurPlatform, scope: &str) -> String {
    let create = ["keys", "create", "laptop", "--scope", scope, "--json"];
    let created: Value = serde_json::from_str(&ours.command(&create).await).unwrap();
    created["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn commands_print_the_same_beside_the_platform_and_from_elsewhere() {
    let ours = OurPlatform::new().await;
    let mut served = ours.serve().await;
    ours.add_ada(&[]).await;
    let key = key(&ours, "write").await;
    let laptop = Laptop { ours: &ours, key };
    let (code, added, _) = laptop.run(&["users", "add", "bob", "--json"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(
        added.trim(),
        ours.command(&["users", "show", "bob", "--json"])
            .await
            .trim()
    );
    for arguments in [
        &["users", "list"][..],
        &["users", "list", "--json", "--search", "a"],
        &["users", "show", "ada"],
        &["users", "invitations"],
        &["deliveries", "ada"],
        &["dead-letters", "list", "--json"],
        &["keys", "list", "--user", "ada"],
        &["audit", "--json"],
    ] {
        let (code, elsewhere, stderr) = laptop.run(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        assert_eq!(elsewhere, ours.command(arguments).await, "{arguments:?}");
    }
    let (code, _, stderr) = laptop.run(&["users", "show", "zoe"]).await;
    assert_eq!(
        (code, stderr.contains("there is no user zoe")),
        (Some(1), true)
    );

    let audit = ours.command(&["audit", "--json"]).await;
    let audit: Vec<Value> = serde_json::from_str(&audit).unwrap();
    let whose = |name: &str| audit.iter().find(|entry| entry["userId"] == name).unwrap();
    assert_eq!(whose("bob")["origin"], "127.0.0.1");
    assert!(
        whose("bob")["actor"]
            .as_str()
            .unwrap()
            .starts_with("key laptop (")
    );
    assert_eq!(whose("ada")["origin"], "command line");
    assert!(whose("ada")["actor"].as_str().unwrap().starts_with("uid "));
    served.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    std::fs::write(&file, "user\nb b\neve\nfay\n").unwrap();
    let all = ["users", "invite-all", file.to_str().unwrap()];
    let (code, _, stderr) = laptop.run(&all).await;
    assert_eq!(code, Some(1));
    let stopped = "stopped at line 3, after 0 invitations: repeat it with the lines from there on: the platform http";
    assert!(stderr.contains(stopped), "{stderr}");
}

#[tokio::test]
async fn a_key_is_never_an_argument_and_makes_no_operators() {
    let ours = OurPlatform::new().await;
    let mut served = ours.serve().await;
    ours.add_ada(&[]).await;
    let mut laptop = Laptop {
        ours: &ours,
        key: key(&ours, "read").await,
    };
    for (arguments, expected) in [
        (&["users", "remove", "ada"][..], "this API key only reads"),
        (
            &["users", "link", "--operator"],
            "beside the platform's store only",
        ),
        (&["keys", "create", "x"], "beside the platform's store only"),
    ] {
        let (code, stdout, stderr) = laptop.run(arguments).await;
        assert_eq!((code, &*stdout), (Some(1), ""), "{arguments:?}");
        assert!(stderr.contains(expected), "{stderr}");
    }
    for (key, expected) in [
        ("postbell_key_wrong", "does not accept the API key"),
        ("", "the API key is not one"),
    ] {
        key.clone_into(&mut laptop.key);
        let (code, _, stderr) = laptop.run(&["users", "list"]).await;
        assert_eq!(code, Some(1));
        assert!(stderr.contains(expected), "{stderr}");
    }
    served.stop().await;
}
