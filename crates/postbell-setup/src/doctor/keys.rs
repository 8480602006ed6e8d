//! What opens the mailbox opens: the credentials' file, or the platform's keys.

use postbell_google::Credentials;
use tokio::time::timeout;

use super::{Exam, Finding};
use crate::wishes::{Destination, platform};

pub(super) async fn look(exam: &Exam<'_>) -> Finding {
    if let Some(finding) = &exam.facts.keys {
        return finding.clone();
    }
    let destination = exam.site.wishes.destination.as_ref();
    if let Some(file) = destination.and_then(Destination::credentials) {
        let file_name = file.display();
        return match Credentials::from_file(file, "") {
            Ok(_) => Finding::ok(format!("{file_name} holds credentials")),
            Err(error) => {
                let next = "Run `postbell setup`: it asks for consent again, and writes the file.";
                Finding::failed(error.to_string(), next)
            }
        };
    }
    match platform(exam.site) {
        Some(platform) if exam.facts.account.is_none() => {
            match timeout(exam.patience, platform.public_key()).await {
                Ok(Ok(_)) => Finding::ok("the platform has a key that credentials are sealed with"),
                Ok(Err(trouble)) => trouble.into(),
                Err(_) => Finding::unknown("the platform does not answer in time"),
            }
        }
        _ => Finding::unknown("neither credentials nor a platform's keys are here"),
    }
}
