//! How a page is written as text.

use crate::mail::{body_of_html, html, read};

#[test]
fn blocks_are_lines_and_paragraphs() {
    for (page, expected) in [
        (
            "<h1>Hi</h1><p>Dear&nbsp;Ann,<br>order <b>#47</b>11 left.</p>",
            "Hi\n\nDear Ann,\norder #4711 left.",
        ),
        ("<div>a</div><div>b<div>c</div></div>d", "a\nb\nc\nd"),
        ("<div>a</div><div><br></div><div>b</div>", "a\n\nb"),
        ("a<br><br><br><br>b", "a\n\nb"),
        ("<p>a<p>b</p></p><hr>c", "a\n\nb\n\nc"),
        ("  a \n  b  <i> c</i>d ", "a b cd"),
        (
            "<p>Code: <span>9</span><span>18</span></p><p>H<sub>2</sub>O</p>",
            "Code: 918\n\nH2O",
        ),
        (
            "<ul><li>One<li>Two<ul><li>Inner</ul><li><p>Three</p></ul>",
            "- One\n- Two\n  - Inner\n- Three",
        ),
        (
            "<ol start=3><li>Three<li value=7>Seven<li>Eight</ol>",
            "3. Three\n7. Seven\n8. Eight",
        ),
        ("<dl><dt>Term<dd>Meaning</dl>", "Term\nMeaning"),
        ("<pre>  code\n    here</pre>", "  code\n    here"),
        ("<div style='white-space:pre-wrap'>a\n  b</div>", "a\n  b"),
        (
            "<q>said</q> <del>old</del> <button>Go</button>",
            "“said” old Go",
        ),
        (
            "<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>日<wbr>本",
            "漢kan日本",
        ),
        (
            "numbers &lt;b&gt; &amp;amp; &ndash; caf&eacute; &#x41;&notit;",
            "numbers <b> &amp; – café A¬it;",
        ),
        (
            "<title>T</title><p class=MsoNormal>Hi<o:p></o:p></p><p><o:p>&nbsp;</o:p></p><p>Bye",
            "Hi\n\nBye",
        ),
        ("<b><i>a</b>b</i>c", "abc"),
        ("", ""),
    ] {
        assert_eq!(body_of_html(page), expected, "{page}");
    }
}

#[test]
fn quotes_are_marked() {
    let page =
        "<div>Yes.</div><blockquote>Does it suit?<blockquote>Older</blockquote></blockquote>Bye";
    assert_eq!(
        body_of_html(page),
        "Yes.\n\n> Does it suit?\n>\n>> Older\n\nBye"
    );
}

#[test]
fn thousands_of_void_and_unclosed_tags_change_nothing() {
    let lines: String = (0..2_100)
        .map(|number| format!("l {number} &ndash; caf&eacute;<br>"))
        .collect();
    let read = read(html(&format!(
        "<style>.a{{color:red}}</style>{}{lines}",
        "<img src=x><p>".repeat(2_000)
    )));
    let body = read.body.unwrap();
    assert!(
        body.starts_with("l 0 – café\nl 1 – café\n"),
        "{}",
        &body[..100]
    );
    assert!(read.body_truncated == Some(true) && !body.contains("color"));
}

#[test]
fn text_behind_a_large_picture_is_read() {
    let data = "iVBORw0KGgo".repeat(60_000);
    let page = format!(
        "<p>Dear Ann,</p><img src=\"data:image/png;base64,{data}\"><p>The meeting is moved.</p>"
    );
    assert_eq!(body_of_html(&page), "Dear Ann,\n\nThe meeting is moved.");
}

#[test]
fn links_are_whole_and_behind_their_text() {
    let long = format!(
        "https://accounts.example.com/verify?token={}&next=%2Fhome",
        "0123456789abcdef".repeat(30)
    );
    for (page, expected) in [
        (format!("<p>Click <a href=\"{long}\">here</a>.</p><p>{long}</p>"), format!("Click here ({long}).\n\n{long}")),
        ("<a href='https://a.example/x'>https://a.example/x</a>".into(), "https://a.example/x".into()),
        ("<a href='https://www.b.example/'>www.b.example</a>".into(), "www.b.example".into()),
        ("<a href='mailto:c@d.example'>c@d.example</a>".into(), "c@d.example".into()),
        ("<a href='mailto:h@d.example?subject=x'>Write</a>us".into(), "Write (mailto:h@d.example?subject=x) us".into()),
        ("<a href='#top'>Top</a> <a name=x>Anchor</a> <a href='javascript:alert(1)'>Run</a>".into(), "Top Anchor Run".into()),
        ("<a href='https://j.example/?a=1&amp;b=2&copy=3'>Amp</a>".into(), "Amp (https://j.example/?a=1&b=2&copy=3)".into()),
        ("<a href='https://i.example/'><img src=x.png></a>".into(), "(https://i.example/)".into()),
        ("<a href='https://e.example/p'><img src=x alt='Sale'></a> <a href='https://e.example/p'>Sale now</a>".into(), "Sale (https://e.example/p) Sale now".into()),
        ("<a href='https://n.example/'><div>Block<br>link</div></a>end".into(), "Block\nlink (https://n.example/)\nend".into()),
        ("<a href='https://o.example/1'>One</a><a href='https://o.example/2'>Two</a>".into(), "One (https://o.example/1) Two (https://o.example/2)".into()),
        ("<a href='https://evil.example/'>https://bank.example/login</a>".into(), "https://bank.example/login (https://evil.example/)".into()),
        ("<a href='https://t.example/o'><img src=o.gif width=1 height=1></a>x".into(), "x".into()),
    ] {
        assert_eq!(body_of_html(&page), expected, "{page}");
    }
}

#[test]
fn the_text_of_a_picture_is_read_and_a_tracking_pixel_is_not() {
    let page = "<img src=a.png alt='50% off until Friday'><img src=o.gif width=1 height=1 alt=''><img src=data:image/gif;base64,AAAA>";
    assert_eq!(body_of_html(page), "50% off until Friday");
}
