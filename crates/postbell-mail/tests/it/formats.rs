//! Bodies as Markdown and as HTML.

use postbell_protocol::webhook::BodyFormat::{Html, Markdown, Text};

use crate::mail::{LIMIT, bytes, html, multipart, plain, read, read_as, text};

#[track_caller]
fn assert_markdown(page: &str, expected: &str) {
    let read = read_as(Markdown, html(page));
    assert_eq!(read.body.as_deref(), Some(expected), "{page}");
    assert_eq!((read.body_format, read.body_truncated), (Markdown, None));
}

#[test]
fn markdown_has_the_structure_of_the_page() {
    for (page, expected) in [
        (
            "<h1>Hi <b>Ann</b></h1><h3>It<br>is <p>here</p></h3>text",
            "# Hi **Ann**\n\n### It is here\n\ntext",
        ),
        (
            "a <b> bold </b> and <em>em<i>ph</i></em>asis<strong></strong>.",
            "a **bold** and *emph*asis.",
        ),
        (
            "<b>one<br>two<p>three</p></b>",
            "**one**\n**two**\n\n**three**",
        ),
        (
            "<ul><li>One<ol><li>Two<li value=9>Nine</ol><li><a href='https://x.org/a(b)'>three</a></ul>",
            "- One\n    1. Two\n    9. Nine\n- [three](<https://x.org/a(b)>)",
        ),
        (
            "<p>Click <a href='https://x.org/?a=1&b=2'>here <b>now</b></a>, or <a href='https://y.org'><img src=x></a></p>",
            "Click [here **now**](https://x.org/?a=1&b=2), or <https://y.org>",
        ),
        (
            "<a href='https://x.org'>https://x.org</a> wow!<a href='https://y.org'>y</a>",
            "[https://x.org](https://x.org) wow\\![y](https://y.org)",
        ),
        (
            "<a href='https://x.org'><div>two</div><div>lines</div></a>",
            "[two](https://x.org)\n[lines](https://x.org)",
        ),
        (
            "Yes.<blockquote>Does it?<ul><li>x</ul></blockquote>",
            "Yes.\n\n> Does it?\n>\n> - x",
        ),
        (
            "<p>Code:</p><pre>  fn *x*() {\n    `y`</pre>end",
            "Code:\n\n      fn *x*() {\n        `y`\n\nend",
        ),
        (
            "<div style='white-space:pre-wrap'>a\n    *b*</div>",
            "a\n\\*b\\*",
        ),
    ] {
        assert_markdown(page, expected);
    }
}

#[test]
fn a_table_with_rows_and_columns_is_a_table_of_markdown() {
    assert_markdown(
        "Sales<table border=1><tr><td>Item<td>Price|EUR<tr><td><p>Lamp</p><ul><li>red</ul><td><b>39</b><tr><td><td>1<tr><td>x<td></table>Bye",
        "Sales\n\n| Item | Price\\|EUR |\n| --- | --- |\n| Lamp - red | **39** |\n|  | 1 |\n| x |  |\n\nBye",
    );
    assert_markdown(
        "<table><tr><th>a<th>b<tr><td><table border=1><tr><td>in<td>ner</table><td>c</table>",
        "| a | b |\n| --- | --- |\n| in ner | c |",
    );
    assert_markdown(
        "<table border=1><tr><td><a href='https://x.org/?a|b'>Item</a><td>Price</table>",
        "| [Item](https://x.org/?a%7Cb) | Price |\n| --- | --- |",
    );
    assert_markdown(
        "<table><tr><td><h2>Layout</h2>text</td><td>more</td></tr></table>",
        "## Layout\n\ntext | more",
    );
}

#[test]
fn text_is_not_taken_for_markdown() {
    for (page, expected) in [
        (
            "<p># no heading</p><p>1. no list<br>- none",
            "\\# no heading\n\n1\\. no list\n\\- none",
        ),
        (
            "&lt;script&gt; [x](https://evil.example) **y** `z`",
            "\\<script> \\[x\\](https://evil.example) \\*\\*y\\*\\* \\`z\\`",
        ),
        ("<p>title</p><p>===<br>--</p>", "title\n\n\\===\n\\--"),
        (
            "<a href='https://x.org'>a](https://evil.example) [b</a>",
            "[a\\](https://evil.example) \\[b](https://x.org)",
        ),
        (
            "<p>&gt; no quote &amp;lt; 5 * 3</p>",
            "\\> no quote \\&lt; 5 \\* 3",
        ),
    ] {
        assert_markdown(page, expected);
    }
}

#[test]
fn hidden_text_is_no_markdown() {
    assert_markdown(
        "<h1 style='display:none'>HIDDEN?</h1><b><span style='font-size:0'>HIDDEN?</span></b>\
         <a href='https://x.org'><i hidden>HIDDEN?</i></a>seen",
        "seen",
    );
}

#[test]
fn markdown_is_cut_and_marked_like_text() {
    let page = "<p><b>word</b> ".repeat(10_000);
    let read = read_as(Markdown, html(&page));
    let body = read.body.unwrap();
    assert!(body.len() <= LIMIT && body.starts_with("**word**\n\n**word**"));
    assert_eq!(read.body_truncated, Some(true));
}

#[test]
fn the_html_of_a_mail_is_given_as_it_was_written() {
    let page = "<p hidden>x</p><p>Grüße</p>";
    let alternative = multipart("alternative", &[plain("Grüße"), html(page)]);
    let read_html = read_as(Html, alternative.clone());
    assert_eq!(read_html.body.as_deref(), Some(page));
    assert_eq!(
        (read_html.body_format, read_html.body_truncated),
        (Html, None)
    );
    assert_eq!(
        read_as(Markdown, alternative.clone()).body.as_deref(),
        Some("Grüße")
    );
    assert_eq!(read(alternative).body_format, Text);
    let latin = bytes("text/html; charset=iso-8859-1", b"<p>Gr\xfc\xdfe</p>");
    assert_eq!(read_as(Html, latin).body.as_deref(), Some("<p>Grüße</p>"));
    let long = read_as(Html, html(&"<p>ä</p>".repeat(LIMIT)));
    assert!(long.body.unwrap().len() <= LIMIT);
    assert_eq!(long.body_truncated, Some(true));
}

#[test]
fn a_plain_text_is_escaped_for_the_format() {
    let mail = plain("<b>1 * 2</b> & 3\r\n> quoted\r\n");
    assert_eq!(
        read_as(Html, mail.clone()).body.as_deref(),
        Some(
            "<pre style=\"white-space: pre-wrap\">&lt;b&gt;1 * 2&lt;/b&gt; &amp; 3\n&gt; quoted\n</pre>"
        )
    );
    assert_eq!(
        read_as(Markdown, mail).body.as_deref(),
        Some("\\<b>1 \\* 2\\</b> & 3\n> quoted\n")
    );
    let markdown = text("text/markdown", "# Alert\r\n");
    assert_eq!(
        read_as(Markdown, markdown).body.as_deref(),
        Some("# Alert\n")
    );
    let both = multipart("mixed", &[html("<p>Letter</p>"), plain("-- \r\n*footer*")]);
    assert_eq!(
        read_as(Markdown, both.clone()).body.as_deref(),
        Some("Letter\n\n\\--\n\\*footer\\*")
    );
    assert_eq!(
        read_as(Html, both).body.as_deref(),
        Some("<p>Letter</p>\n\n<pre style=\"white-space: pre-wrap\">-- \n*footer*</pre>")
    );
}
