//! Pages that are written to use up time or memory. The tests read them at 200 kB, `just bench --only mail` at 25 MB.

/// Makes a page of about this number of bytes.
pub(crate) type MakePage = fn(usize) -> String;

/// The kinds of hostile pages.
pub(crate) fn kinds() -> Vec<(&'static str, MakePage)> {
    [structures(), tokens(), texts(), styles(), long_rules()].concat()
}

fn filled(size: usize, piece: &str) -> String {
    piece.repeat(size / piece.len())
}

fn numbered(size: usize, piece: impl Fn(usize) -> String) -> String {
    let mut page = String::with_capacity(size + 64);
    let mut number = 0;
    while page.len() < size {
        page += &piece(number);
        number += 1;
    }
    page
}

fn structures() -> Vec<(&'static str, MakePage)> {
    vec![
        ("deep div", |size| filled(size, "<div>") + "deep"),
        ("deep table", |size| {
            filled(size, "<table><tr><td>") + "deep"
        }),
        ("deep quote", |size| filled(size, "<blockquote>x")),
        ("deep list", |size| filled(size, "<ul><li>x")),
        ("unclosed b", |size| {
            numbered(size, |n| format!("<b id=i{n}>")) + "x"
        }),
        ("unclosed a", |size| {
            numbered(size, |n| format!("<a href=u{n}>x"))
        }),
        ("fonts in paragraphs", |size| {
            numbered(size, |n| format!("<font color=#{n:06x}><p>x"))
        }),
        ("misnested", |size| filled(size, "<b><i></b></i>x")),
        ("adoption agency", |size| filled(size, "<a><p></a>x")),
        ("forms", |size| filled(size, "<form><div></form>x")),
        ("list items", |size| filled(size, "<li><b>")),
        ("end tags", |size| filled(size, "</div>")),
        ("open elements and other end tags", |size| {
            "<div>".repeat(511) + "<i>" + &filled(size, "</b>")
        }),
        ("nested links", |size| {
            filled(size, "<a href=https://x.org/><table><tr><td>x")
        }),
        ("nested long links", |size| {
            let link = format!(
                "<a href=\"https://x.org/{}\"><table><tr><td>",
                "<".repeat(30_000)
            );
            filled(size, &link)
        }),
    ]
}

fn tokens() -> Vec<(&'static str, MakePage)> {
    vec![
        ("line breaks", |size| filled(size, "<br>")),
        ("less-than signs", |size| filled(size, "<")),
        ("unfinished tags", |size| filled(size, "<a ")),
        ("huge attribute", |size| {
            format!("<p title=\"{}\">x</p>", filled(size, "x"))
        }),
        ("huge class", |size| {
            format!("<p class=\"{}\">x</p>", filled(size, "x "))
        }),
        ("many attributes", |size| {
            format!("<p {}>x</p>", numbered(size, |n| format!("a{n}=1 ")))
        }),
        ("comment", |size| format!("<!--{}", filled(size, "-"))),
        ("declarations", |size| filled(size, "<!a")),
        ("rows", |size| filled(size, "<tr><td>a")),
        ("text in a table", |size| {
            format!("<table>{}", filled(size, "a<b>"))
        }),
        ("options", |size| {
            format!("<select>{}", filled(size, "<option>x"))
        }),
        ("spanning cells", |size| {
            filled(size, "<table><tr><td colspan=1000>a</table>")
        }),
        ("scripts", |size| filled(size, "<script>")),
        ("text areas", |size| filled(size, "<textarea>")),
        ("drawings", |size| filled(size, "<svg><g>")),
        ("zero bytes", |size| filled(size, "\0<p>")),
        ("capital letters", |size| {
            format!("<{}>x", filled(size, "A"))
        }),
    ]
}

fn texts() -> Vec<(&'static str, MakePage)> {
    vec![
        ("spaces", |size| filled(size, "&nbsp;")),
        ("ampersands", |size| filled(size, "&")),
        ("hidden ampersands", |size| {
            format!("<p hidden>{}", filled(size, "&"))
        }),
        ("entities", |size| filled(size, "&notit;")),
        ("blanks", |size| format!("<p>a{}b", filled(size, " "))),
        ("blanks in a tag", |size| {
            format!("<p {}>b", filled(size, " "))
        }),
        ("invisible characters", |size| {
            format!("<p>a{}b", filled(size, "\u{200b}"))
        }),
        ("preformatted", |size| {
            format!("<pre>{}", filled(size, "a\n"))
        }),
        ("paragraphs", |size| {
            filled(size, "<p>lorem ipsum dolor sit amet ")
        }),
        ("one word", |size| format!("<p>{}", filled(size, "w"))),
        ("hidden word", |size| {
            format!("<p hidden>{}", filled(size, "wörter"))
        }),
    ]
}

fn styles() -> Vec<(&'static str, MakePage)> {
    vec![
        ("same style", |size| {
            filled(
                size,
                "<p style=\"display:block;color:red;font-size:12px\">x",
            )
        }),
        ("styles without text", |size| {
            filled(
                size,
                "<br style=\"display:block;color:red;font-size:12px\">",
            )
        }),
        ("same rule", |size| {
            let rules = filled(size, ".a{display:none}");
            format!("<style>{rules}</style><p class=a>x")
        }),
        ("unfinished style", |size| {
            format!("<p style=\"{}\">x", filled(size, "color:red;"))
        }),
        ("many selectors", |size| {
            let rules: String = (0..6_000)
                .map(|n| format!(".c{n} p{{color:red}}"))
                .collect();
            format!("<style>{rules}</style>{}", filled(size, "<p class=x>y"))
        }),
        ("deep selectors", |size| {
            let rules = ".a .a>.a .a>.a .b{color:red}".repeat(1_000);
            let deep = filled(size, "<p class='a b'>");
            format!("<style>{rules}</style>{deep}")
        }),
        ("quotes in css", |size| {
            format!("<style>{}</style>x", filled(size, "a{b:\"}"))
        }),
        ("at-rules in css", |size| {
            format!("<style>{}</style>x", filled(size, "@media all{"))
        }),
        ("a style at the end", |size| {
            filled(size, "<br><hr>") + "<style>.a{display:none}</style>x"
        }),
        ("a style behind a comment", |size| {
            let comment = filled(size, "<!-- x -->");
            format!("{comment}<style>.a{{display:none}}</style>x")
        }),
        ("empty styles", |size| filled(size, "<style></style>")),
    ]
}

fn long_rules() -> Vec<(&'static str, MakePage)> {
    vec![
        ("tests of a long attribute", |size| {
            let rules = "[x*=b] p{color:red}".repeat(1_000);
            let (value, rest) = ("a".repeat(size / 2), filled(size / 2, "<p>x"));
            format!("<style>{rules}</style><div x={value}>{rest}")
        }),
        ("groups in a rule of many selectors", |size| {
            let selectors = filled(size / 2, ":hover,");
            let groups = filled(size / 2, "@media all{color:red}");
            format!("<style>{selectors}a{{{groups}}}</style><a>x")
        }),
        ("nested rules", |size| {
            format!("<style>{}</style><a>x", filled(size, "a{color:red;"))
        }),
        ("quotes before comments in css", |size| {
            format!("<style>{}</style><a>x", filled(size, "'/*'/*'*/"))
        }),
    ]
}
