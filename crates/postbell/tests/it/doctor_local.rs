//! `postbell doctor` for a person who watches their mailbox themselves.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postbell_sandbox::{FaultPoint, Frequency, Kind};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::{JoinSet, yield_now};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::doctor::{DoctorOutput, doctor};
use crate::setup::{MAILBOX, PROJECT, World};
use crate::support::{DEADLOCK, free_port};
use crate::terminal::Terminal;

fn in_days(days: i64) -> i64 {
    jiff::Timestamp::now().as_millisecond() + days * 86_400_000
}

impl World {
    pub(crate) async fn doctor(&self, arguments: &[&str]) -> DoctorOutput {
        doctor(arguments, &self.variables(), self.home.path()).await
    }

    fn state_file(&self) -> PathBuf {
        let folder = self.home.path().join(".config/gogcli/state/gmail-watch");
        folder.join("ann_example_com.json")
    }

    fn change(&self, file: &Path, change: impl FnOnce(&mut Value)) {
        let mut content = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        change(&mut content);
        fs::write(file, content.to_string()).unwrap();
    }

    fn change_state(&self, change: impl FnOnce(&mut Value)) {
        self.change(&self.state_file(), change);
    }

    /// Starts what setup has printed; returns once it has brought a mail to the bot.
    async fn watch(&self) -> tokio::process::Child {
        let subscription = format!("projects/{PROJECT}/subscriptions/postbell-pull-71d4f55f");
        let watcher = Command::new(env!("CARGO_BIN_EXE_postbell"))
            .args([
                "watch",
                "pull",
                "--account",
                MAILBOX,
                "--credentials",
                "google.json",
            ])
            .args(["--subscription", &subscription])
            .args(["--hook-url", &self.sandbox.bot().hook_url()])
            .env_clear()
            .envs(self.variables())
            .current_dir(self.home.path())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mail = b"From: a@example.org\nSubject: hello\n\nhello";
        self.sandbox.gmail().deliver(MAILBOX, mail).unwrap();
        let is_noted = async {
            let read = || fs::read(self.state_file()).unwrap();
            let state = || serde_json::from_slice::<Value>(&read()).unwrap();
            while state()["lastDeliveryStatus"] != "ok" {
                yield_now().await;
            }
        };
        tokio::time::timeout(DEADLOCK, is_noted).await.unwrap();
        watcher
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_watched_from_here_is_well() {
    let world = World::new().await;
    world.set_up().await;
    let output = world.doctor(&["--json"]).await;
    output.assert_failed(
        "watcher",
        &[
            "none is running for ann@example.com",
            "`postbell watch pull`",
        ],
    );
    let mut watcher = world.watch().await;
    let output = world.doctor(&["--json", "--sign-in"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    for hop in [
        "configuration",
        "keys",
        "clock",
        "topic",
        "publisher",
        "subscription",
        "watch",
        "grant",
        "watcher",
        "hook",
        "last-delivery",
    ] {
        assert_eq!(output.hop(hop).0, "ok", "{hop}: {}", output.stdout);
    }
    for hop in ["address", "audience", "signer", "machine"] {
        let (state, detail) = output.hop(hop);
        assert_eq!(state, "unknown", "{hop}");
        assert!(detail.contains("not part of this path"), "{detail}");
    }

    // To a person, in 80 columns, and without a secret.
    let mut variables = world.variables();
    variables.push(("TERM", "xterm".to_owned()));
    let terminal = Terminal::start(&["doctor".to_owned()], &variables, world.home.path());
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, 0, "{}", seen.screen);
    assert!(seen.all.contains("\x1b[32m✓"), "in colours");
    assert!(
        seen.screen
            .contains(" · Topic             only an administrator"),
        "{}",
        seen.screen
    );
    assert_eq!(
        seen.screen.matches("postbell doctor --sign-in").count(),
        1,
        "{}",
        seen.screen
    );
    crate::setup::assert_fits(&seen.screen);
    for secret in world.secrets() {
        assert!(
            !seen.all.contains(&secret)
                && !output.stdout.contains(&secret)
                && !output.stderr.contains(&secret)
        );
    }
    watcher.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_ends_and_a_hook_that_refuses_fail_their_hops() {
    let world = World::new().await;
    world.set_up().await;
    world.change(&world.progress_file(), |progress| {
        progress["grantEndsAt"] = json!(in_days(5));
    });
    // A watcher holds the state, so that its absence is not reported.
    let folder = world.state_file();
    let folder = folder.parent().unwrap();
    let _watcher = postbell_protocol::watch_state::StateFile::open(folder, MAILBOX).unwrap();
    let output = world.doctor(&["--json"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    let (state, detail) = output.hop("grant");
    assert_eq!(state, "warning", "{}", output.stdout);
    assert!(
        detail.contains("every grant expires after 7 days") && detail.contains("auth/audience"),
        "{detail}"
    );

    let faults = world.sandbox.faults();
    faults.add(FaultPoint::Hook, Kind::refuse(500), Frequency::Always);
    let output = world.doctor(&["--json"]).await;
    output.assert_failed("hook", &["the webhook answered 500"]);
    faults.clear();

    let ends_in = |days: i64| {
        world.change_state(|state| {
            state["expirationMs"] = json!(in_days(days));
            state["providerExpirationMs"] = json!(in_days(days));
        });
    };
    ends_in(1);
    let output = world.doctor(&["--json"]).await;
    assert_eq!(output.hop("watch").0, "warning", "{}", output.stdout);
    ends_in(-1);
    let output = world.doctor(&["--json"]).await;
    output.assert_failed(
        "watch",
        &[
            "it expired on",
            "`postbell watch renew --account ann@example.com",
        ],
    );
    world.change_state(|state| state["topic"] = json!("projects/p/topics/other"));
    let output = world.doctor(&["--json"]).await;
    output.assert_failed(
        "watch",
        &["it publishes to another topic, projects/p/topics/other"],
    );
    ends_in(5);
    world.change_state(|state| {
        state["topic"] = json!(format!("projects/{PROJECT}/topics/postbell-gmail-71d4f55f"))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_subscription_and_what_the_watcher_stored_are_seen_without_an_administrator() {
    let world = World::new().await;
    world.set_up().await;
    let folder = world.state_file();
    let folder = folder.parent().unwrap();
    let _watcher = postbell_protocol::watch_state::StateFile::open(folder, MAILBOX).unwrap();
    let output = world.doctor(&["--json"]).await;
    assert_eq!(output.hop("subscription").0, "ok", "{}", output.stdout);
    let good: Value = serde_json::from_slice(&fs::read(world.state_file()).unwrap()).unwrap();
    let with = |fields: Value| {
        let mut state = good.clone();
        let fields = fields.as_object().unwrap().clone();
        state.as_object_mut().unwrap().extend(fields);
        fs::write(world.state_file(), state.to_string()).unwrap();
    };
    with(
        json!({ "problem": "the hook answered 404", "problemCode": "webhook_failing",
                 "problemSinceMs": 1_790_000_000_000_u64 }),
    );
    let output = world.doctor(&["--json"]).await;
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    let (state, detail) = output.hop("watcher");
    assert_eq!(state, "failed", "{detail}");
    assert!(
        detail.contains("webhook_failing since 2026-09-21") && detail.contains("404"),
        "{detail}"
    );
    // A test has failed, and no delivery.
    assert_eq!(
        output.hop("last-delivery").0,
        "unknown",
        "{}",
        output.stdout
    );
    with(
        json!({ "deadLetters": [{ "id": "m7", "historyId": "5", "reason": "the hook answered 400" }] }),
    );
    let output = world.doctor(&["--json"]).await;
    let (state, detail) = output.hop("last-delivery");
    assert_eq!(state, "warning", "{detail}");
    assert!(
        detail.contains("m7") && detail.contains("dead-letters list"),
        "{detail}"
    );
    with(json!({ "topic": "" }));
    let output = world.doctor(&["--json"]).await;
    output.assert_failed(
        "watch",
        &["names no topic", "`postbell watch start --account"],
    );

    with(json!({}));
    let topic = format!("projects/{PROJECT}/topics/postbell-gmail-71d4f55f");
    world.sandbox.pubsub().remove_topic(&topic);
    let output = world.doctor(&["--json"]).await;
    output.assert_failed("subscription", &["its topic was deleted"]);
    with(json!({ "subscription": format!("projects/{PROJECT}/subscriptions/gone") }));
    let output = world.doctor(&["--json"]).await;
    output.assert_failed("subscription", &["gone does not exist"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_the_mailbox_and_what_setup_remembers_are_looked_at() {
    let world = World::new().await;
    world.set_up().await;
    let folder = world.state_file();
    let folder = folder.parent().unwrap();
    let _watcher = postbell_protocol::watch_state::StateFile::open(folder, MAILBOX).unwrap();
    world.sandbox.oauth().revoke(MAILBOX);
    let output = world.doctor(&["--json"]).await;
    output.assert_failed("grant", &["invalid_grant", "testing", "`postbell setup`"]);
    fs::write(world.home.path().join("google.json"), "{}").unwrap();
    let output = world.doctor(&["--json"]).await;
    output.assert_failed("keys", &["google.json", "`postbell setup`"]);
    fs::write(world.progress_file(), "hunter2").unwrap();
    let output = world.doctor(&["--json"]).await;
    output.assert_failed("configuration", &["setup.json"]);
    fs::remove_file(world.progress_file()).unwrap();
    fs::remove_file(world.state_file()).unwrap();
    let output = world.doctor(&["--json"]).await;
    output.assert_failed(
        "configuration",
        &["nothing is configured or set up here", "`postbell setup`"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_of_an_earlier_setup_is_checked_beside_that_of_the_last() {
    let world = World::new().await;
    world.set_up().await;
    world.change(&world.progress_file(), |progress| {
        progress["mailbox"] = json!("bob@example.com");
        progress["destination"]["credentials"] = json!(world.home.path().join("bob.json"));
    });
    let output = world.doctor(&["--json"]).await;
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    let found: Value = serde_json::from_str(&output.stdout).unwrap();
    let paths = found["paths"].as_array().unwrap();
    let accounts: Vec<_> = paths.iter().map(|path| path["account"].as_str()).collect();
    assert_eq!(accounts, [Some("bob@example.com"), Some(MAILBOX)]);
    let hop = |name: &str| {
        let mut hops = paths[1]["hops"].as_array().unwrap().iter();
        hops.find(|hop| hop["hop"] == name).unwrap().clone()
    };
    assert_eq!(hop("keys")["state"], "ok", "{}", output.stdout);
    assert_eq!(hop("grant")["state"], "ok", "{}", output.stdout);
    let watch = hop("watch");
    assert_eq!(watch["state"], "warning", "{watch}");
    let watcher = hop("watcher");
    assert_eq!(watcher["state"], "failed", "{watcher}");
    assert!(
        watcher["next"].as_str().unwrap().contains("watch pull"),
        "{watcher}"
    );
    // As one of them, by its name.
    let output = world.doctor(&["--json", "--account", MAILBOX]).await;
    assert_eq!(output.hop("keys").0, "ok", "{}", output.stdout);
}

/// An authority, and a server that turns everybody away, with a certificate of that authority's.
struct Tls {
    address: SocketAddr,
    authority: String,
    _serving: JoinSet<()>,
}

impl Tls {
    async fn new(name: &str, last_year: i32) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = free_port().await;
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(turn_away(listener, acceptor));
        Self {
            address,
            authority: authority.pem(),
            _serving: serving,
        }
    }
}

async fn turn_away(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = acceptor.accept(stream).await else {
            continue;
        };
        let _ = stream.read(&mut [0; 4096]).await;
        let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_public_address_is_looked_at() {
    let world = World::new().await;
    world.set_up().await;
    let remembered = fs::read(world.progress_file()).unwrap();
    let check_address = async |tls: &Tls, is_trusted: bool| {
        let mut progress: Value = serde_json::from_slice(&remembered).unwrap();
        let endpoint = format!(
            "https://localhost:{}/gmail-pubsub?token=hunter2",
            tls.address.port()
        );
        progress["destination"]["kind"] = json!("serve");
        progress["destination"]["endpoint"] = json!(endpoint);
        fs::write(world.progress_file(), progress.to_string()).unwrap();
        let file = world.home.path().join("authority.pem");
        fs::write(&file, &tls.authority).unwrap();
        let mut variables = world.variables();
        if is_trusted {
            variables.push(("SSL_CERT_FILE", file.display().to_string()));
        }
        let output = doctor(&["--json"], &variables, world.home.path()).await;
        assert!(!output.stdout.contains("hunter2"), "{}", output.stdout);
        output.hop("address")
    };
    let right = Tls::new("localhost", 2100).await;
    let (state, detail) = check_address(&right, true).await;
    assert_eq!(state, "ok", "{detail}");
    assert!(
        detail.contains("its certificate expires on 2100-01-01"),
        "{detail}"
    );
    for (tls, is_trusted, words) in [
        (
            &right,
            false,
            "not signed by an authority that this machine trusts",
        ),
        (
            &Tls::new("localhost", 2021).await,
            true,
            "its certificate has expired",
        ),
        (
            &Tls::new("other.example.com", 2100).await,
            true,
            "its certificate is for another name",
        ),
    ] {
        let (state, detail) = check_address(tls, is_trusted).await;
        assert_eq!(state, "failed", "{detail}");
        assert!(detail.contains(words), "{words}: {detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_was_started_without_setup_is_checked() {
    let world = World::new().await;
    world.set_up().await;
    fs::remove_file(world.progress_file()).unwrap();
    let output = world.doctor(&["--json"]).await;
    output.assert_failed("watcher", &["none is running for ann@example.com"]);
    let mut watcher = world.watch().await;
    let output = world.doctor(&["--json"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    assert!(output.hop("keys").1.contains("not known here"));
    for hop in ["configuration", "watch", "watcher", "hook", "last-delivery"] {
        assert_eq!(output.hop(hop).0, "ok", "{hop}: {}", output.stdout);
    }
    let with_credentials = [
        "--json",
        "--account",
        MAILBOX,
        "--credentials",
        "google.json",
    ];
    let output = world.doctor(&with_credentials).await;
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    for hop in ["keys", "grant", "subscription"] {
        assert_eq!(output.hop(hop).0, "ok", "{hop}: {}", output.stdout);
    }
    watcher.kill().await.unwrap();

    // As on a machine whose controller watches several accounts.
    let other = world.state_file().with_file_name("bob_example_com.json");
    fs::copy(world.state_file(), &other).unwrap();
    world.change(&other, |state| state["account"] = json!("bob@example.com"));
    let output = world.doctor(&["--json"]).await;
    let found: Value = serde_json::from_str(&output.stdout).unwrap();
    let paths = found["paths"].as_array().unwrap().iter();
    let accounts: Vec<_> = paths
        .map(|path| path["account"].as_str().unwrap())
        .collect();
    assert_eq!(accounts, [MAILBOX, "bob@example.com"]);

    let output = world
        .doctor(&["--json", "--account", "eve@example.com"])
        .await;
    output.assert_failed(
        "configuration",
        &["no watch was started for eve@example.com"],
    );
}
