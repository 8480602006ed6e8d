//! Pages that are written to use up time or memory: 200 kB of each kind, with a bound on the work.

use super::text_of;

/// The size of each page.
const SIZE: usize = 200_000;

/// The largest work for a byte: a stack of 512 elements is searched once for each of the shortest tags.
const STEPS_PER_BYTE: u64 = 150;

/// The work that the comparison with style sheets may take besides.
const STEPS_OF_RULES: u64 = 4_100_000;

fn filled(piece: &str) -> String {
    piece.repeat(SIZE / piece.len())
}

fn numbered(piece: impl Fn(usize) -> String) -> String {
    let count = SIZE / piece(0).len();
    (0..count).map(piece).collect()
}

type Pages = Vec<(&'static str, String)>;

fn pages() -> Pages {
    [structures(), tokens(), texts(), styles()].concat()
}

fn structures() -> Pages {
    vec![
        ("deep div", filled("<div>") + "deep"),
        ("deep table", filled("<table><tr><td>") + "deep"),
        ("deep quote", filled("<blockquote>x")),
        ("deep list", filled("<ul><li>x")),
        ("unclosed b", numbered(|n| format!("<b id=i{n}>")) + "x"),
        ("unclosed a", numbered(|n| format!("<a href=u{n}>x"))),
        (
            "fonts in paragraphs",
            numbered(|n| format!("<font color=#{n:06x}><p>x")),
        ),
        ("misnested", filled("<b><i></b></i>x")),
        ("adoption agency", filled("<a><p></a>x")),
        ("line breaks", filled("<br>")),
        ("spaces", filled("&nbsp;")),
        ("ampersands", filled("&")),
    ]
}

fn tokens() -> Pages {
    vec![
        ("less-than signs", filled("<")),
        ("unfinished tags", filled("<a ")),
        (
            "huge attribute",
            format!("<p title=\"{}\">x</p>", filled("x")),
        ),
        (
            "many attributes",
            format!("<p {}>x</p>", numbered(|n| format!("a{n}=1 "))),
        ),
        (
            "same style",
            filled("<p style=\"display:block;color:red;font-size:12px\">x"),
        ),
        (
            "same rule",
            format!("<style>{}</style><p class=a>x", filled(".a{display:none}")),
        ),
        ("comment", format!("<!--{}", filled("-"))),
        ("entities", filled("&notit;")),
        ("rows", filled("<tr><td>a")),
        ("text in a table", format!("<table>{}", filled("a<b>"))),
        ("options", format!("<select>{}", filled("<option>x"))),
        (
            "spanning cells",
            filled("<table><tr><td colspan=1000>a</table>"),
        ),
        ("scripts", filled("<script>")),
        ("text areas", filled("<textarea>")),
    ]
}

fn texts() -> Pages {
    vec![
        ("drawings", filled("<svg><g>")),
        ("zero bytes", filled("\0<p>")),
        ("blanks", format!("<p>a{}b", filled(" "))),
        ("preformatted", format!("<pre>{}", filled("a\n"))),
        ("paragraphs", filled("<p>lorem ipsum dolor sit amet ")),
        ("one word", format!("<p>{}", filled("w"))),
        ("end tags", filled("</div>")),
    ]
}

fn styles() -> Pages {
    vec![
        (
            "unfinished style",
            format!("<p style=\"{}\">x", filled("color:red;")),
        ),
        ("forms", filled("<form><div></form>x")),
        ("list items", filled("<li><b>")),
        ("many selectors", {
            let rules: String = (0..SIZE / 32)
                .map(|n| format!(".c{n} p{{color:red}}"))
                .collect();
            format!("<style>{rules}</style>{}", "<p class=x>y".repeat(SIZE / 24))
        }),
        (
            "deep selectors",
            format!(
                "<style>{}</style>{}",
                ".a .a>.a .a>.a .b{color:red}".repeat(1_000),
                filled("<p class='a b'>")
            ),
        ),
        (
            "open elements and other end tags",
            "<div>".repeat(511) + "<i>" + &filled("</b>"),
        ),
        (
            "quotes in css",
            format!("<style>{}</style>x", filled("a{b:\"}")),
        ),
        (
            "at-rules in css",
            format!("<style>{}</style>x", filled("@media all{")),
        ),
        (
            "nested links",
            filled("<a href=https://x.org/><table><tr><td>x"),
        ),
    ]
}

#[test]
fn hostile_pages_take_work_in_proportion_to_their_size() {
    for (kind, page) in pages() {
        for limit in [20_000, usize::MAX / 4] {
            let read = text_of(&page, limit);
            let bound = STEPS_PER_BYTE * page.len() as u64 + STEPS_OF_RULES;
            assert!(read.steps <= bound, "{kind}: {} steps", read.steps);
            assert!(
                read.text.len() <= 2 * page.len() + 1_000,
                "{kind}: {} bytes",
                read.text.len()
            );
        }
    }
}

#[test]
fn a_deep_page_needs_no_deep_stack() {
    let page = "<div>".repeat(100_000) + "deep";
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    let read = thread
        .spawn(move || text_of(&page, 20_000))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(read.text, "deep");
}

mod any {
    use proptest::prelude::*;

    use super::text_of;

    proptest! {
        #[test]
        fn no_page_makes_it_panic(
            page in "(<[a-z!/]{1,6}( [a-z]{1,5}=[\"']?[^<]{0,9})?>|<(table|tr|td|li|ul|a href=http:x|b|p|style|pre)>|</[a-z]{1,5}>|&[a-z#0-9]{1,5};|[.#a-z]{1,3}\\{[a-z:;]{0,9}\\}|.){0,60}"
        ) {
            let whole = text_of(&page, 100_000);
            let cut = text_of(&page, 10);
            prop_assert!(cut.text.len() <= whole.text.len() + 100);
        }
    }
}
