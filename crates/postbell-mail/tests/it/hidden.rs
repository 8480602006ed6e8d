//! Text that a person does not see.

use crate::mail::{body_of_html, read};

const SEEN: &str = "Seen before.";
const AFTER: &str = "Seen after.";

/// A page with a piece between two sentences that are seen.
fn page(style: &str, piece: &str) -> String {
    format!(
        "<html><head><style>{style}</style></head><body bgcolor=\"#ffffff\"><p>{SEEN}</p>{piece}<p>{AFTER}</p></body></html>"
    )
}

#[track_caller]
fn assert_hidden(style: &str, piece: &str) {
    let body = body_of_html(&page(style, piece));
    assert_eq!(body, format!("{SEEN}\n\n{AFTER}"), "{style} {piece}");
}

#[track_caller]
fn assert_shown(style: &str, piece: &str) {
    let body = body_of_html(&page(style, piece));
    assert!(
        body.contains("HIDDEN?") && body.contains(AFTER),
        "{style} {piece}: {body}"
    );
}

/// Styles with which nothing is drawn.
const HIDING_STYLES: &[&str] = &[
    "display:none",
    "display : none !important",
    "DISPLAY:NONE",
    "display:none;display:no-such-value",
    "di/**/x:y;display/* c */:none",
    "d\\69splay:none",
    "visibility:hidden",
    "visibility:collapse",
    "font-size:0",
    "font-size:0px",
    "font-size: 0.0em",
    "font-size:.01px !important",
    "font:0/0 a",
    "font:normal 700 0px/1 Arial",
    "opacity:0",
    "opacity:0%",
    "max-height:0;overflow:hidden",
    "height:0;overflow:hidden",
    "width:0;overflow:hidden",
    "max-width:0px;overflow-x:hidden",
    "overflow:clip;height:1px",
    "text-indent:-9999px",
    "text-indent:100%;white-space:nowrap;overflow:hidden",
    "position:absolute;left:-9999px",
    "position:absolute;top:-5000px",
    "position:fixed;right:-100em",
    "margin-left:-9999px",
    "margin:0 0 0 -9999px",
    "color:#ffffff;background-color:#fff",
    "color:white;background:#FFFFFF",
    "color:#fefefe",
    "color:transparent",
    "color:rgba(0,0,0,0)",
    "color:rgb(255,255,255)",
    "color:hsl(0,0%,100%)",
    "color:red;-webkit-text-fill-color:transparent",
    "color:black;background:#000",
    "clip:rect(0,0,0,0);position:absolute",
    "clip:rect(1px 1px 1px 1px);position:absolute",
    "clip-path:inset(100%)",
    "clip-path:circle(0)",
    "clip-path:polygon(0 0,0 0)",
    "transform:scale(0)",
    "transform:rotate(1deg) scaleY(0)",
    "transform:translateX(-9999px)",
    "scale:0",
    "zoom:0",
    "filter:opacity(0)",
    "content-visibility:hidden",
    "mso-hide:all",
    "mso-hide:all;display:none",
    "font-size:1px;color:#fff;line-height:1px",
];

#[test]
fn styles_that_a_browser_does_not_draw_hide_text() {
    for style in HIDING_STYLES {
        assert_hidden("", &format!("<div style=\"{style}\">HIDDEN?</div>"));
        assert_hidden(
            "",
            &format!(
                "<div style='{style}'><p>HIDDEN?<table><tr><td>HIDDEN?</td></tr></table></div>"
            ),
        );
        assert_hidden(&format!(".x {{ {style} }}"), "<p class=x>HIDDEN?</p>");
    }
}

#[test]
fn elements_that_a_browser_does_not_draw_hide_text() {
    for piece in [
        "<p hidden>HIDDEN?</p>",
        "<p hidden=until-found>HIDDEN?</p>",
        "<template>HIDDEN?</template>",
        "<script>var HIDDEN = '?'</script>",
        "<style>.HIDDEN{}</style>",
        "<!-- HIDDEN? --><!--[if mso]><p>HIDDEN?</p><![endif]-->",
        "<input type=hidden value='HIDDEN?'>",
        "<select><option>HIDDEN?</option></select>",
        "<textarea>HIDDEN?</textarea>",
        "<object>HIDDEN?</object><video>HIDDEN?</video><canvas>HIDDEN?</canvas><iframe>HIDDEN?</iframe>",
        "<svg><title>HIDDEN?</title><text>HIDDEN?</text></svg>",
        "<math><mi>HIDDEN?</mi></math>",
        "<dialog>HIDDEN?</dialog>",
        "<title>HIDDEN?</title>",
        "<font color=\"#ffffff\">HIDDEN?</font><font color=white>HIDDEN?</font>",
        "<table bgcolor=black><tr><td style='color:#000'>HIDDEN?</td></tr></table>",
        "<div style='opacity:.2'><div style='opacity:.2'>HIDDEN?</div></div>",
        "<a href=\"https://x.org/HIDDEN?\" style=\"display:none\">HIDDEN?</a>",
        "<a href=\"https://x.org/HIDDEN?\"><span style=\"font-size:0\">HIDDEN?</span></a>",
        "<img src=x width=1 height=1 alt='HIDDEN?'><img src=x style='display:none' alt='HIDDEN?'>",
    ] {
        assert_hidden("", piece);
    }
}

#[test]
fn style_sheets_hide_text() {
    for (style, piece) in [
        (
            ".h,.x .nothing{display:none}",
            "<div class=\"h other\">HIDDEN?</div>",
        ),
        ("#secret{visibility:hidden}", "<div id=secret>HIDDEN?</div>"),
        ("p.tiny{font-size:0}", "<p class=tiny>HIDDEN?</p>"),
        (
            "div.inv > span{opacity:0}",
            "<div class=inv><span>HIDDEN?</span></div>",
        ),
        (
            "td[class=\"z\"]{display:none}",
            "<table><tr><td class=z>HIDDEN?</td></tr></table>",
        ),
        (
            "div[data-x^='a'] p{display:none}[data-x]{display:none}",
            "<div data-x=abc>HIDDEN?</div>",
        ),
        (
            "/* } */ .a { } <!-- .b{display:none} -->",
            "<p class=b>HIDDEN?</p>",
        ),
        (
            "@media screen and (min-width:400px){.m{display:none}}",
            "<p class=m>HIDDEN?</p>",
        ),
        (
            "@supports (display:grid){.m{display:none}}",
            "<p class=m>HIDDEN?</p>",
        ),
        (
            "@import 'x.css'; @font-face{font-family:x} .m{display:none}",
            "<p class=m>HIDDEN?</p>",
        ),
        (
            ".m{display:none!important}",
            "<p class=m style=\"display:block\">HIDDEN?</p>",
        ),
        (
            ".m{display:block} p.m{display:none} .m{display:block}",
            "<p class=m>HIDDEN?</p>",
        ),
        (
            "custom-tag{display:none}",
            "<custom-tag>HIDDEN?</custom-tag>",
        ),
        ("*.m{display:none}", "<p class=m>HIDDEN?</p>"),
        (".\\6d {display:none}", "<p class=m>HIDDEN?</p>"),
        ("body .m{display:none}", "</style><p class=m>HIDDEN?</p>"),
    ] {
        assert_hidden(style, piece);
    }
    // A style counts wherever it stands.
    assert_hidden(
        "",
        "<p class=late>HIDDEN?</p><style>.late{display:none}</style>",
    );
}

/// Styles of the sheet, and pieces that are drawn.
const SHOWN: &[(&str, &str)] = &[
    ("@media print{.m{display:none}}", "<p class=m>HIDDEN?</p>"),
    (
        "@media screen and (max-width:480px){.m{display:none}}",
        "<p class=m>HIDDEN?</p>",
    ),
    (
        "@media (prefers-color-scheme: dark){.m{color:#fff}}",
        "<p class=m>HIDDEN?</p>",
    ),
    (".m:hover{display:none}", "<p class=m>HIDDEN?</p>"),
    (
        ".m{display:none}",
        "<p class=m style=\"display:block!important\">HIDDEN?</p>",
    ),
    (
        ".other{display:none} p.x.y{display:none}",
        "<p class=x>HIDDEN?</p>",
    ),
    ("", "<p aria-hidden=true>HIDDEN?</p>"),
    ("", "<noscript>HIDDEN?</noscript>"),
    ("", "<font size=1>HIDDEN?</font>"),
    (
        "",
        "<table bgcolor=\"#000000\"><tr><td style=\"color:#fff\">HIDDEN?</td></tr></table>",
    ),
    (
        "",
        "<div style=\"background:url(x.png)\"><p style=\"color:#fff\">HIDDEN?</p></div>",
    ),
    (
        "",
        "<div style=\"background:var(--dark)\"><p style=\"color:#fff\">HIDDEN?</p></div>",
    ),
    (
        "",
        "<div style=\"color:#fff\"><a href=\"https://x.org\">HIDDEN?</a></div>",
    ),
    (
        "",
        "<div style=\"font-size:0\"><span style=\"font-size:14px\">HIDDEN?</span></div>",
    ),
    (
        "",
        "<div style=\"visibility:hidden\"><p style=\"visibility:visible\">HIDDEN?</p></div>",
    ),
    ("", "<p style=\"max-height:0;max-width:600px\">HIDDEN?</p>"),
    ("", "<p style=\"left:-9999px\">HIDDEN?</p>"),
    ("", "<p style=\"color:#bbb\">HIDDEN?</p>"),
    (
        "",
        "<div style=\"display:none\">x</div></div><p>HIDDEN?</p>",
    ),
    (
        "",
        "<dialog open>HIDDEN?</dialog><details><summary>x</summary>y</details>",
    ),
    ("", "<![if !mso]><p>HIDDEN?</p><![endif]>"),
];

#[test]
fn what_a_browser_draws_is_shown() {
    for (style, piece) in SHOWN {
        assert_shown(style, piece);
    }
}

#[test]
fn text_that_only_the_order_of_elements_hides_is_left_out_and_marked() {
    for selector in [
        "p.m:first-child",
        "p:nth-child(2n + 1 of .m)",
        "h1 + p.m",
        "h1~.m",
        ".m:not(.other)",
        "body :is(.m, .n)",
        ":root .m:last-of-type",
        "body:has(p) > .m",
        "input:checked ~ p.m",
    ] {
        let page = page(
            &format!("{selector}{{display:none}}"),
            "<p class=m>HIDDEN?</p>",
        );
        let read = read(crate::mail::html(&page));
        let body = read.body.unwrap_or_default();
        assert!(!body.contains("HIDDEN?"), "{selector}: {body}");
        assert_eq!(read.body_truncated, Some(true), "{selector}");
    }
    for style in [
        "p.m:first-child{margin:0} tr:nth-child(2n){background:#eee;color:#333}",
        ".m::before, .m:hover, .m:empty, .m:-moz-any(x), .x:last-child{display:none}",
        ".m:last-child{display:block;font-size:14px}",
        "p\\:first-child, [title~=m]{display:none}",
    ] {
        assert_shown(style, "<p class=m>HIDDEN?</p>");
    }
}

/// Asserts that a text that may be hidden is left out, and that the reader knows it.
#[track_caller]
fn assert_left_out(style: &str, piece: &str) {
    let read = read(crate::mail::html(&page(style, piece)));
    let body = read.body.unwrap_or_default();
    let style = &style[..style.floor_char_boundary(100)];
    assert!(!body.contains("HIDDEN?"), "{style}: {body}");
    assert_eq!(read.body_truncated, Some(true), "{style}");
}

#[test]
fn text_that_a_rule_hides_that_is_not_read_whole_is_left_out_and_marked() {
    let many = (0..64).map(|at| format!("c{at} ")).collect::<String>();
    let long = "x".repeat(600);
    for (style, piece) in [
        (
            ".m{display:none}".to_owned(),
            format!("<p class='{many} m'>HIDDEN?</p>"),
        ),
        (
            format!(".{long}{{display:none}}"),
            format!("<p class={long}>HIDDEN?</p>"),
        ),
        (
            format!("#{long}{{display:none}}"),
            format!("<p id={long}>HIDDEN?</p>"),
        ),
    ] {
        assert_left_out(&style, &piece);
    }
    let divs = "div ".repeat(9);
    let deep = format!(
        "{}<p class=m>HIDDEN?</p>{}",
        "<div>".repeat(9),
        "</div>".repeat(9)
    );
    assert_left_out(&format!("{divs} .m{{display:none}}"), &deep);
    assert_left_out(
        &format!(
            "body{} .m{{display:none}}",
            ":not(.nothing-of-that-name)".repeat(30)
        ),
        "<p class=m>HIDDEN?</p>",
    );
    assert_left_out(
        &format!(".m[title='{long}']{{display:none}}"),
        &format!("<p class=m title='{long}'>HIDDEN?</p>"),
    );
    let far = format!("margin:calc({} 0px) 0 0 -9999px", "0px + ".repeat(1_000));
    assert_left_out(&format!(".m{{{far}}}"), "<p class=m>HIDDEN?</p>");
    assert_left_out("", &format!("<p style='{far}'>HIDDEN?</p>"));
    let spaces = " ".repeat(5_000);
    assert_hidden(
        &format!(".m{{display:none{spaces}!important{spaces}}}"),
        "<p class=m style='display:block'>HIDDEN?</p>",
    );
}

#[test]
fn text_that_a_nested_rule_may_hide_is_left_out_and_marked() {
    let layers = format!("{}.m{{display:none}}{}", "@layer{".repeat(9), "}".repeat(9));
    for style in [
        "body{.m{display:none}}",
        "body{color:red;.m{display:none}}",
        "p{&.m{display:none}}",
        "body{> .m{display:none}}",
        "& .m{display:none}",
        "body{.x{color:red}.y{p.m{display:none}}}",
        ".m{@container (width > 1px){display:none}}",
        "@container (width > 1px){.m{display:none}}",
        "@scope (body){.m{display:none}}",
        "@scope (.m){display:none}",
        "@starting-style{.m{opacity:0}}",
        layers.as_str(),
        "p.m::first-line{font-size:0}",
        "div:empty + .m{display:none}",
        ".m:-webkit-any(p){display:none}",
        "h|p{display:none}",
    ] {
        assert_left_out(style, "<p class=m>HIDDEN?</p>");
    }
    assert_left_out(
        "details:open .m{display:none}",
        "<details open><p class=m>HIDDEN?</p></details>",
    );
    for style in [
        ".m{.x{color:red} display:none}",
        ".m{@media screen{display:none}}",
        "@media all{@media all{@media all{@media all{@media all{.m{display:none}}}}}}",
    ] {
        assert_hidden(style, "<p class=m>HIDDEN?</p>");
    }
}

#[test]
fn selectors_with_quotes_namespaces_and_tests_of_ancestors_hide_text() {
    for (style, piece) in [
        ("[title=\"]\"]{display:none}", "<p title=']'>HIDDEN?</p>"),
        ("[title='{;']{display:none}", "<p title='{;'>HIDDEN?</p>"),
        ("p[title=\"x\"s]{display:none}", "<p title=x>HIDDEN?</p>"),
        ("p[title=\"X\"i]{display:none}", "<p title=x>HIDDEN?</p>"),
        (
            ".x::before{content:'}'} .m{display:none}",
            "<p class=m>HIDDEN?</p>",
        ),
        (
            ".x::before{content:'/*'} .m{display:none}",
            "<p class=m>HIDDEN?</p>",
        ),
        ("*|p.m{display:none}", "<p class=m>HIDDEN?</p>"),
        ("[*|title]{display:none}", "<p title=x>HIDDEN?</p>"),
        (".\\6d y{display:none}", "<p class=my>HIDDEN?</p>"),
        (
            "div[lang] .m{display:none}",
            "<div lang=en><p class=m>HIDDEN?</p></div>",
        ),
        (
            "div[data-x=a] > p{display:none}",
            "<div data-x=a><p>HIDDEN?</p></div>",
        ),
    ] {
        assert_hidden(style, piece);
    }
}

#[test]
fn rules_of_ordinary_newsletters_hide_nothing() {
    let picture = format!(
        "background:url(data:image/png;base64,{})",
        "A".repeat(9_000)
    );
    for style in [
        "[data-ogsc] .m{color:#fff!important} [data-ogsb] .m{background:#000!important}",
        "u + .body .m{min-width:100vw} u ~ div .m{width:100%}",
        "* [lang~='x-y'] .m{display:none} .other [class*=x] .m{display:none}",
        "#outlook a{padding:0} .ExternalClass *{line-height:100%} .m{mso-line-height-rule:exactly}",
        "@media only screen and (max-width:480px){.m{display:none!important} table[class=w] .m{width:0}}",
        "@media (prefers-color-scheme:dark){.m{color:#fff!important}}",
        "@-ms-viewport{width:device-width} @-moz-document url-prefix(){.m{display:none}}",
        "@keyframes f{from{opacity:0}to{opacity:1}} @font-face{font-family:x;src:url(x)}",
        "a[x-apple-data-detectors]{color:inherit!important;font-size:inherit!important}",
        ".a{color:red; @media (max-width:480px){.m{display:none}}",
        "body{.m{color:red}} .m:open{font-size:14px}",
        &format!(".m{{{picture}}}"),
    ] {
        let read = read(crate::mail::html(&page(style, "<p class=m>HIDDEN?</p>")));
        assert!(read.body.unwrap_or_default().contains("HIDDEN?"), "{style}");
        assert_eq!(read.body_truncated, None, "{style}");
    }
}

#[test]
fn filler_of_a_preview_is_removed() {
    let filler = "&#847;&zwnj;&nbsp;&#8199;&shy;".repeat(80);
    let page = format!(
        "<div style=\"display:none;max-height:0\">Preview</div><div>{filler}</div><p>Hello&nbsp;Bob,</p>\
         <p>the co&shy;op&shy;er&shy;a&shy;tion starts to&#8203;day.</p>{}<p>Bye</p>",
        "&nbsp;".repeat(300)
    );
    assert_eq!(
        body_of_html(&page),
        "Hello Bob,\n\nthe cooperation starts today.\n\nBye"
    );
}

#[test]
fn letters_that_only_a_language_model_reads_are_removed() {
    let smuggled: String = "OBEY"
        .chars()
        .map(|one| format!("&#{};", 0xe0000 + u32::from(one)))
        .collect();
    assert_eq!(body_of_html(&format!("<p>Hi{smuggled} Ann</p>")), "Hi Ann");
}

#[test]
fn hidden_text_stays_hidden_where_the_nesting_or_the_rules_are_too_many() {
    let deep = format!(
        "<p>{SEEN}</p>{}<div style=\"display:none\">HIDDEN?</div>",
        "<div>".repeat(600)
    );
    let many_rules = format!(
        "<style>{}.h{{display:none}}</style><p class=h>HIDDEN?</p>",
        (0..30_000)
            .map(|number| format!(".c{number}{{color:red}}"))
            .collect::<String>()
    );
    let much_css = format!(
        "<style>{}.h{{display:none}}</style><p class=h>HIDDEN?</p>",
        "/* x */ ".repeat(300_000)
    );
    let many_attributes = format!(
        "<p {} hidden>HIDDEN?</p>",
        (0..1_000)
            .map(|number| format!("a{number}=1 "))
            .collect::<String>()
    );
    for page in [deep, many_rules, much_css] {
        let read = read(crate::mail::html(&page));
        assert!(!read.body.unwrap_or_default().contains("HIDDEN?"));
        assert_eq!(read.body_truncated, Some(true));
    }
    assert_eq!(body_of_html(&many_attributes), "");
}
