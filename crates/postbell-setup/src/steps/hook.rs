//! The bot takes mail: its hook is sent one that says of itself that it is none.

use async_trait::async_trait;

use crate::hook;
use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::Trouble;

pub(super) struct Hook;

#[async_trait]
impl Step for Hook {
    fn id(&self) -> StepId {
        StepId::Hook
    }

    fn needs(&self) -> &'static [StepId] {
        &[]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let url = site.wishes.hook.as_ref().map(|hook| hook.url.clone());
        let answered = url.is_some() && site.progress.hook == url && !site.wishes.again;
        let url = url.map(String::from).unwrap_or_default();
        Ok(if answered {
            Look::Done(format!("{url} takes mail"))
        } else {
            Look::ToDo(format!("send a test to {url}"))
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let Some(wish) = site.wishes.hook.clone() else {
            return Ok(());
        };
        let mailbox = site.wishes.mailbox.as_ref().map(|address| address.as_str());
        hook::send(&site.tools.client, &wish, mailbox.unwrap_or_default()).await?;
        site.wishes.again = false;
        site.remember(|progress| progress.hook = Some(wish.url))
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        site.remember(|progress| progress.hook = None)?;
        Ok(Undone::Nothing)
    }
}
