//! HTML as the text that a person would read: what a browser does not draw is not there.
//!
//! One pass over the tokens with a stack of at most 512 open elements instead of a tree: time and memory grow with
//! the input alone, whatever a stranger sends, and the pass ends once enough text is written (ADR 26).

mod css;
#[cfg(test)]
mod hostile;
mod links;
mod page;
mod stack;
mod tag;
mod tokens;
mod visibility;
mod writer;

use self::css::StyleSheet;
use self::page::Page;
use self::tag::Tag;
use self::tokens::{Token, tokens};

/// The text of a page.
#[derive(Debug, Default)]
pub(crate) struct HtmlText {
    pub(crate) text: String,
    /// Whether the page has more text.
    pub(crate) was_cut: bool,
    /// The steps that were needed: tokens, and elements and CSS rules that were compared.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "the tests bound the work of hostile pages with it"
        )
    )]
    pub(crate) steps: u64,
}

/// Returns the text of a page, of which the pass ends at about `limit` bytes.
pub(crate) fn text_of(html: &str, limit: usize) -> HtmlText {
    let sheet = style_sheet(html);
    if sheet.is_incomplete() {
        // A rule that was not read may hide text. Nothing of this page is certain to be visible.
        return HtmlText {
            was_cut: true,
            ..HtmlText::default()
        };
    }
    let mut page = Page::new(sheet, limit);
    for token in tokens(html) {
        match token {
            Token::Start(start) => page.start(start),
            Token::End(tag) => page.end(&tag),
            Token::Text(text) => page.text(&text),
        }
        if page.is_done() {
            break;
        }
    }
    page.finish()
}

/// The rules of all `style` elements. They count for the whole page, wherever they stand.
fn style_sheet(html: &str) -> StyleSheet {
    let mut sheet = StyleSheet::default();
    let mut applies = false;
    for token in style_tokens(html) {
        match token {
            Token::Start(start) => {
                let media = start.attributes.get("media");
                applies = start.tag == Tag::Style && media.is_none_or(css::media_applies);
            }
            Token::Text(text) if applies => sheet.add(&text),
            Token::Text(_) => {}
            Token::End(_) => applies = false,
        }
    }
    sheet
}

/// The tokens of a page that may have a `style` element; otherwise none.
fn style_tokens(html: &str) -> impl Iterator<Item = Token> {
    let has_style = html.match_indices('<').any(|(at, _)| {
        html.as_bytes()
            .get(at + 1..at + 6)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"style"))
    });
    has_style.then(|| tokens(html)).into_iter().flatten()
}
