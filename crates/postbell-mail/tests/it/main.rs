//! What the bot gets of mails that were written as people, newsletters and attackers write them.

mod chromium;
mod formats;
mod headers;
mod hidden;
mod html;
mod letter;
mod mail;
mod opaque;
mod tables;
