//! The test of the bot's webhook.

use async_trait::async_trait;

use crate::context::SetupContext;
use crate::error::Result;
use crate::plan::{Plan, Step};
use crate::progress::Progress;
use crate::report::StepId;
use crate::webhook::send_test;

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
        let url = url.map(String::from).unwrap_or_default();
        Ok(if has_passed && !ctx.must_repeat(self.id()) {
            Plan::UpToDate(format!("{url} accepts mail"))
        } else {
            Plan::Change(format!("send a test to {url}"))
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let Some(webhook) = ctx.request.webhook.clone() else {
            return Ok(());
        };
        let mailbox = ctx.request.mailbox_address();
        let google = &ctx.deps.google;
        send_test(&google.client, &webhook, mailbox, google.clock.now()).await?;
        ctx.discovered.repeated_tests.insert(self.id());
        ctx.update_progress(|progress| progress.hook = Some(webhook.url))
    }

    fn forget(&self, progress: &mut Progress) {
        progress.hook = None;
    }
}
