//! HTML as the text that a person would read: what a browser does not draw is not there.
//!
//! One pass over the tokens with a stack of at most 512 open elements instead of a tree: time and memory grow with
//! the input alone, whatever a stranger sends, and the pass ends once enough text is written (ADR 26).

mod css;
#[cfg(test)]
mod hostile;
mod links;
mod markdown;
mod page;
mod stack;
mod style;
mod tag;
mod tokens;
mod visibility;
mod writer;

use std::io::{self, Read};

use self::page::Page;
use self::style::Preamble;

pub(crate) use self::markdown::of_plain as markdown_of_plain;

/// How a text is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Output {
    Text,
    Markdown,
}

/// The text of a page.
#[derive(Debug, Default)]
pub(crate) struct HtmlText {
    pub(crate) text: String,
    /// Whether the page has more text.
    pub(crate) was_cut: bool,
    /// The steps that were needed: calls of the tokenizer, and elements and CSS rules that were compared.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "the tests bound the work of hostile pages with it"
        )
    )]
    pub(crate) steps: u64,
}

/// Returns the text of a page of UTF-8, which `open` reads from its start, and of which the pass ends at about `limit`
/// bytes.
pub(crate) fn text_of<R: Read>(open: impl Fn() -> R, limit: usize, output: Output) -> HtmlText {
    read(open, limit, output).unwrap_or_else(|_| HtmlText {
        was_cut: true,
        ..HtmlText::default()
    })
}

/// Plain text as HTML. Its lines stay.
pub(crate) fn html_of_plain(plain: &str) -> String {
    let mut html = String::with_capacity(plain.len() + 64);
    html.push_str("<pre style=\"white-space: pre-wrap\">");
    for one in plain.chars() {
        match one {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            _ => html.push(one),
        }
    }
    html.push_str("</pre>");
    html
}

fn read<R: Read>(open: impl Fn() -> R, limit: usize, output: Output) -> io::Result<HtmlText> {
    let preamble = Preamble::read(&open)?;
    if preamble.is_incomplete() {
        // What was not read may hide text. Nothing of this page is certain to be visible.
        return Ok(HtmlText {
            was_cut: true,
            ..HtmlText::default()
        });
    }
    let mut page = Page::new(preamble, limit, output);
    let steps = tokens::read(open(), &mut page)?;
    Ok(page.finish(steps))
}
