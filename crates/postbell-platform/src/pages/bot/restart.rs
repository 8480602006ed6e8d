//! What a change of the settings restarts, said before the change.

use maud::{Markup, html};
use postbell_core::MachineLocation;

use super::view::View;

/// The notice beside the settings.
pub(super) fn notice(view: &View) -> Markup {
    html! {
        @if let Some(text) = text(view) {
            p id="restarts" class="hint" { (text) }
        }
    }
}

fn text(view: &View) -> Option<&'static str> {
    if !view.is_connected() || view.is_off() {
        return None;
    }
    if view.record.config_fetched_at.is_some() {
        return Some("A change restarts the watcher on your machine, not your bot.");
    }
    let is_configured =
        view.is_managed && matches!(view.record.location, MachineLocation::Managed(_));
    is_configured.then_some("A change restarts your machine, and your bot with it.")
}
