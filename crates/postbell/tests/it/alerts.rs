//! `postbell serve` tells its operator, over real connections and across kills.

use std::os::unix::fs::PermissionsExt;

use postbell_protocol::webhook::SigningKeys;
use postbell_sandbox::{AlertServices, MailServer, Misbehaviour};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio::time::timeout;

use crate::platform::OurPlatform;
use crate::support::{DEADLOCK, ServiceProcess, run};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A platform whose operator has a webhook and a mail address.
struct World {
    ours: OurPlatform,
    services: AlertServices,
    mail: MailServer,
    targets: NamedTempFile,
}

impl World {
    async fn new() -> Self {
        let services = AlertServices::start().await.unwrap();
        let mail = MailServer::start().await.unwrap();
        let targets = NamedTempFile::new().unwrap();
        let text = format!(
            "{}/alerts#{SECRET}\nsmtp://{}?tls=none&from=postbell@example.com&to=ops@example.com\n",
            services.url(),
            mail.address()
        );
        std::fs::write(targets.path(), text).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(targets.path(), private).unwrap();
        Self {
            ours: OurPlatform::new().await,
            services,
            mail,
            targets,
        }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.ours.variables();
        let file = self.targets.path().display().to_string();
        variables.push(("POSTBELL_ALERTS__TARGETS_FILE", file));
        variables
    }

    async fn serve(&self) -> ServiceProcess {
        let variables = self.variables();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command.arg("serve");
        ServiceProcess::run(command, &variables, "The relay is listening").await
    }

    async fn check_in(&self, problem: Option<&str>) {
        let problem = problem.map(|code| json!({ "code": code, "since": 1_790_000_000_000_i64 }));
        let body = json!({ "sandboxId": "ada", "problem": problem });
        self.ours.check_in_with(body).await;
    }
}

#[tokio::test]
async fn a_problem_is_told_by_webhook_and_mail_even_if_the_process_is_killed() {
    let world = World::new().await;
    let service = world.serve().await;
    world.ours.add_ada(&[]).await;
    world.ours.connect().await;
    for _ in 0..2 {
        world.services.misbehave(Misbehaviour::Refuse {
            status: 500,
            retry_after: None,
        });
    }
    world.mail.refuse(451);
    world.check_in(Some("grant_revoked")).await;
    let tried = world.services.wait_for_requests(1);
    timeout(DEADLOCK, tried).await.unwrap();
    service.kill().await;

    let service = world.serve().await;
    let alerts = timeout(DEADLOCK, world.services.wait_for(1)).await.unwrap();
    let mails = timeout(DEADLOCK, world.mail.wait_for(1)).await.unwrap();
    let header = |name: &str| alerts[0].headers[name].to_str().unwrap();
    let key: SigningKeys = SECRET.parse().unwrap();
    assert!(key.verify(
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
        &alerts[0].body
    ));
    assert_eq!(alerts[0].json["type"], "grant.revoked");
    assert_eq!(alerts[0].json["data"]["user"], "ada");
    assert_eq!(mails[0].to, ["ops@example.com"]);
    assert!(mails[0].text.contains("Access to Gmail was revoked"));

    // The same again is no news; its end is.
    world.check_in(Some("grant_revoked")).await;
    world.check_in(None).await;
    let alerts = timeout(DEADLOCK, world.services.wait_for(2)).await.unwrap();
    let kinds: Vec<_> = alerts
        .iter()
        .map(|alert| alert.json["type"].clone())
        .collect();
    assert_eq!(kinds, ["grant.revoked", "recovered"]);
    timeout(DEADLOCK, world.mail.wait_for(2)).await.unwrap();
    assert_eq!(service.terminate().await, Some(0));

    let mut test = Command::new(env!("CARGO_BIN_EXE_postbell"));
    test.args(["watch", "test-alert"]).env_clear();
    let (code, sent, told) = run(test.envs(world.variables())).await;
    let expected = "sent\tsigned webhook at 127.0.0.1\nsent\te-mail to o…@example.com\n";
    assert_eq!((code, &*sent), (Some(0), expected), "{told}");
    world.ours.world.stop().await.unwrap();
}
