//! What Chromium 156 shows of pages that are easily misread: damaged CSS, misnested elements, rare properties.
//!
//! Each line of `chromium.jsonl` is a page, the words in it that are not seen in a window of 1,000 pixels, and those that
//! are. A script read them from the layout: boxes, clipping, opacity, and colors.

use crate::mail;

#[test]
fn what_chromium_does_not_show_is_not_read_and_what_it_shows_is_read_or_marked() {
    let mut wrong = Vec::new();
    for line in include_str!("chromium.jsonl").lines() {
        let (page, hidden, shown): (String, Vec<String>, Vec<String>) =
            serde_json::from_str(line).expect("a page and two lists");
        let read = mail::read(mail::html(&page));
        let body = read.body.unwrap_or_default();
        let is_read = |word: &String| body.contains(word.as_str());
        if hidden.iter().any(is_read) {
            wrong.push(format!("hidden: {page}"));
        }
        if read.body_truncated != Some(true) && !shown.iter().all(is_read) {
            wrong.push(format!("shown: {page}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The text of a page, and whether it is marked that there is more.
fn read(page: &str) -> (String, bool) {
    let read = mail::read(mail::html(page));
    let is_cut = read.body_truncated == Some(true);
    (read.body.unwrap_or_default(), is_cut)
}

#[test]
fn a_root_element_that_is_hidden_behind_a_long_text_hides_the_text() {
    let long = "<p>HIDDEN? and so on</p>".repeat(5_000);
    for end in [
        "<body hidden>",
        "</body></html><BODY\nhidden>",
        "<html style='display:none'>",
        "<body class=m x='>'><style>.m{display:none}</style>",
        &format!("<body x={} hidden>", "y".repeat(100_000)),
    ] {
        let (body, _) = read(&format!("{long}{end}"));
        assert!(!body.contains("HIDDEN?"), "{}", &end[..20.min(end.len())]);
    }
    let (body, is_cut) = read("<body class=a><p>Shown</p></body><body class=b bgcolor=white>");
    assert_eq!((body.as_str(), is_cut), ("Shown", false));
}

#[test]
fn a_rule_for_what_has_the_focus_counts_if_an_element_takes_it_itself() {
    let style = "<style>body:focus-within .m, .m:focus{display:none}</style><p class=m>HIDDEN?</p>";
    let (body, is_cut) = read(style);
    assert_eq!((body.as_str(), is_cut), ("HIDDEN?", false));
    let (body, is_cut) = read(&format!("{style}<input AutoFocus>"));
    assert_eq!((body.as_str(), is_cut), ("", true));
}

#[test]
fn of_two_doubtful_rules_the_one_that_hides_counts() {
    let (body, is_cut) = read(
        "<style>.m:first-child{color:#fff}.m:not(p){color:#000}</style><p class=m>HIDDEN?</p><p>Shown</p>",
    );
    assert_eq!((body.as_str(), is_cut), ("Shown", true));
    // What they make of an element counts for what is within.
    let (body, is_cut) = read(
        "<style>div:not(.x){background:#000;color:#fff}</style><div>Shown<p style='color:#000'>HIDDEN?</p></div>",
    );
    assert_eq!((body.as_str(), is_cut), ("Shown", true));
}

#[test]
fn a_color_that_is_a_variable_without_a_value_is_the_named_or_the_inherited_one() {
    for page in [
        "<p style='color:var(--x, white)'>HIDDEN?</p>",
        "<div style='color:white'><p style='color:var(--x)'>HIDDEN?</p></div>",
    ] {
        assert_eq!(read(page), (String::new(), true), "{page}");
    }
    let (body, is_cut) =
        read("<p style='color:var(--x, #333)'>Shown <b style='color:var(--y)'>too</b></p>");
    assert_eq!((body.as_str(), is_cut), ("Shown too", false));
}

#[test]
fn many_formatting_elements_and_blocks_within_hide_as_one_does() {
    for page in [
        "<p><font color=white></p><div style='color:black'>HIDDEN?</div>".to_owned(),
        "<i style='visibility:hidden'><p><b style='visibility:hidden'><dt style='visibility:visible'>HIDDEN?".to_owned(),
        "<table style='font-size:0'><tr><td><template></table><p>HIDDEN?</p>".to_owned(),
    ] {
        assert_eq!(read(&page), (String::new(), false), "{page}");
    }
    for page in [
        format!("<p><b style='display:none'>{}</p>HIDDEN?", "<i>".repeat(20)),
        format!("<b style='display:none'>{}</b>HIDDEN?", "<div>".repeat(9)),
        "<svg><style>&#46;m{display:none}</style></svg><p class=m>HIDDEN?".to_owned(),
        "<svg><xmp><style>.m{display:none}</style></xmp></svg><p class=m>HIDDEN?".to_owned(),
    ] {
        let (body, is_cut) = read(&page);
        assert!(!body.contains("HIDDEN?") && is_cut, "{page}: {body}");
    }
}
