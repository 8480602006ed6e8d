//! The test of the bot's webhook.

use async_trait::async_trait;
use postbell_http::redacted;

use crate::complete::correct_webhook;
use crate::context::SetupContext;
use crate::error::Result;
use crate::plan::{Plan, Step};
use crate::progress::Progress;
use crate::report::StepId;
use crate::webhook::send_test;

/// How often a user may correct the webhook in one run.
const ATTEMPTS: u32 = 6;

pub(super) struct Webhook;

#[async_trait]
impl Step for Webhook {
    fn id(&self) -> StepId {
        StepId::Hook
    }

    fn needs(&self) -> &'static [StepId] {
        &[]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let webhook = ctx.request.webhook.as_ref();
        let url = webhook.map(|webhook| webhook.url.clone());
        let has_passed = url.is_some() && ctx.progress.hook == url;
        let url = url.as_ref().map(redacted).unwrap_or_default();
        Ok(if has_passed && !ctx.must_repeat(self.id()) {
            Plan::UpToDate(format!("{url} accepts mail"))
        } else {
            Plan::Change(format!("send a test to {url}"))
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let Some(mut webhook) = ctx.request.webhook.clone() else {
            return Ok(());
        };
        let mut attempt = 1;
        while let Err(error) = test(ctx, &webhook).await {
            if attempt == ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
            ctx.note(&format!("{}: {}.", redacted(&webhook.url), error.problem()));
            let Some(corrected) = correct_webhook(ctx, &webhook).await? else {
                return Err(error);
            };
            let url = corrected.url.clone();
            ctx.update_progress(|progress| progress.webhook = Some(url))?;
            ctx.request.webhook = Some(corrected.clone());
            webhook = corrected;
        }
        ctx.discovered.repeated_tests.insert(self.id());
        ctx.update_progress(|progress| progress.hook = Some(webhook.url))
    }

    fn forget(&self, progress: &mut Progress) {
        progress.hook = None;
    }
}

async fn test(ctx: &SetupContext, webhook: &crate::request::Webhook) -> Result<()> {
    let google = &ctx.deps.google;
    let mailbox = ctx.request.mailbox_address();
    send_test(&google.client, webhook, mailbox, google.clock.now()).await
}
