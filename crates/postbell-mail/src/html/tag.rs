//! The elements of HTML, and what a browser does with each by default.

macro_rules! tags {
    ($($tag:ident $name:literal)*) => {
        /// The name of an element.
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub(super) enum Tag {
            $(#[doc = $name] $tag,)*
            /// An element without a meaning of its own, by its name in lower case.
            Other(Box<str>),
        }

        impl Tag {
            /// The element with this name in lower case.
            pub(super) fn named(name: &str) -> Self {
                match name {
                    $($name => Self::$tag,)*
                    other => Self::Other(other.into()),
                }
            }
        }
    };
}

tags! {
    A "a" Address "address" Applet "applet" Area "area" Article "article" Aside "aside" Audio "audio" B "b" Base "base"
    Basefont "basefont" Bgsound "bgsound" Big "big" Blockquote "blockquote" Body "body" Br "br" Button "button"
    Canvas "canvas" Caption "caption" Center "center" Code "code" Col "col" Colgroup "colgroup" Datalist "datalist" Dd "dd"
    Details "details" Dialog "dialog" Dir "dir" Div "div" Dl "dl" Dt "dt" Em "em" Embed "embed"
    Fieldset "fieldset" Figcaption "figcaption" Figure "figure" Font "font" Footer "footer" Form "form"
    Frame "frame" Frameset "frameset" H1 "h1" H2 "h2" H3 "h3" H4 "h4" H5 "h5" H6 "h6" Head "head" Header "header"
    Hgroup "hgroup" Hr "hr" Html "html" I "i" Iframe "iframe" Img "img" Input "input" Keygen "keygen"
    Legend "legend" Li "li" Link "link" Listing "listing" Main "main" Map "map" Marquee "marquee" Math "math" Menu "menu"
    Meta "meta" Meter "meter" Nav "nav" Nobr "nobr" Noembed "noembed" Noframes "noframes" Noscript "noscript"
    Object "object" Ol "ol" Optgroup "optgroup" Option "option" P "p" Param "param" Pre "pre" Progress "progress" Q "q" Rp "rp"
    S "s" Script "script" Search "search" Section "section" Select "select" Small "small" Source "source" Strike "strike"
    Strong "strong" Style "style" Summary "summary" Svg "svg" Table "table" Tbody "tbody" Td "td"
    Template "template" Textarea "textarea" Tfoot "tfoot" Th "th" Thead "thead" Title "title" Tr "tr"
    Track "track" Tt "tt" U "u" Ul "ul" Video "video" Wbr "wbr" Xml "xml" Xmp "xmp"
}

/// How an element stands among the text before and behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    /// In the line.
    Inline,
    /// On lines of its own.
    Block,
    /// On lines of its own, with an empty line around it.
    Paragraph,
}

impl Tag {
    pub(super) fn flow(&self) -> Flow {
        use Tag::*;
        match self {
            P | H1 | H2 | H3 | H4 | H5 | H6 | Ul | Ol | Dl | Blockquote | Pre | Hr | Figure
            | Listing | Xmp | Menu | Dir => Flow::Paragraph,
            Address | Article | Aside | Body | Caption | Center | Dd | Details | Dialog | Div
            | Dt | Fieldset | Figcaption | Footer | Form | Header | Hgroup | Html | Legend | Li
            | Main | Nav | Option | Search | Section | Summary | Table | Tbody | Tfoot | Thead
            | Title | Tr => Flow::Block,
            _ => Flow::Inline,
        }
    }

    /// The level of a heading.
    pub(super) fn level(&self) -> usize {
        use Tag::*;
        let headings = [H1, H2, H3, H4, H5, H6];
        headings
            .iter()
            .position(|heading| heading == self)
            .map_or(0, |at| at + 1)
    }

    /// Whether the element has no content, so that nothing closes it.
    pub(super) fn is_void(&self) -> bool {
        use Tag::*;
        matches!(
            self,
            Area | Base
                | Basefont
                | Bgsound
                | Br
                | Col
                | Embed
                | Frame
                | Hr
                | Img
                | Input
                | Keygen
                | Link
                | Meta
                | Param
                | Source
                | Track
                | Wbr
        )
    }

    /// Whether the element stays open where an element around it is closed (HTML, section 13.2.4.3).
    pub(super) fn is_formatting(&self) -> bool {
        use Tag::*;
        matches!(
            self,
            A | B | Big | Code | Em | Font | I | Nobr | S | Small | Strike | Strong | Tt | U
        )
    }

    /// Whether a mail reader never draws what is in the element.
    pub(super) fn is_never_drawn(&self) -> bool {
        use Tag::*;
        matches!(
            self,
            Audio
                | Canvas
                | Datalist
                | Head
                | Iframe
                | Input
                | Math
                | Meter
                | Noembed
                | Noframes
                | Object
                | Optgroup
                | Option
                | Progress
                | Rp
                | Script
                | Select
                | Style
                | Svg
                | Template
                | Textarea
                | Title
                | Video
                | Xml
        )
    }

    /// Whether an open paragraph ends where the element begins (HTML, section 13.2.6.4.7).
    pub(super) fn ends_paragraph(&self) -> bool {
        use Tag::*;
        matches!(
            self,
            Address
                | Article
                | Aside
                | Blockquote
                | Center
                | Dd
                | Details
                | Dialog
                | Dir
                | Div
                | Dl
                | Dt
                | Fieldset
                | Figcaption
                | Figure
                | Footer
                | Form
                | H1
                | H2
                | H3
                | H4
                | H5
                | H6
                | Header
                | Hgroup
                | Hr
                | Li
                | Listing
                | Main
                | Menu
                | Nav
                | Ol
                | P
                | Pre
                | Search
                | Section
                | Summary
                | Table
                | Ul
                | Xmp
        )
    }

    /// Whether the end tag of an element around this one has no effect, if it is one that ends blocks ("scope",
    /// HTML, section 13.2.4.2).
    pub(super) fn is_scope(&self) -> bool {
        use Tag::*;
        matches!(
            self,
            Applet | Caption | Html | Marquee | Object | Select | Table | Td | Template | Th
        )
    }

    /// Whether other end tags than those of blocks and of formatting have no effect on elements around this one
    /// ("special", HTML, section 13.2.4.2).
    pub(super) fn is_special(&self) -> bool {
        use Tag::*;
        match self {
            Applet | Button | Colgroup | Frameset | Head | Iframe | Marquee | Noembed
            | Noframes | Noscript | Object | Script | Select | Style | Td | Template | Textarea
            | Th => true,
            Dialog | Legend | Option => false,
            _ => self.flow() != Flow::Inline,
        }
    }

    /// Whether the end tag ends all elements within, up to the next scope.
    pub(super) fn is_ended_in_scope(&self) -> bool {
        use Tag::*;
        match self {
            Applet | Button | Dialog | Marquee | Object | Select => true,
            Caption | Form | Hr | Html | Body | Li | P | Table | Tbody | Tfoot | Thead | Title
            | Tr | Xmp => false,
            _ => self.is_special() && self.flow() != Flow::Inline,
        }
    }

    /// Whether the end of the element needs no tag where one around it ends.
    pub(super) fn is_ended_by_parent(&self) -> bool {
        use Tag::*;
        matches!(self, Dd | Dt | Li | Optgroup | Option | P)
    }

    pub(super) fn is_heading(&self) -> bool {
        self.level() > 0
    }

    /// Whether formatting that begins within does not go on behind the element.
    pub(super) fn ends_formatting(&self) -> bool {
        use Tag::*;
        matches!(
            self,
            Applet | Caption | Marquee | Math | Object | Svg | Td | Template | Th
        )
    }

    /// Whether the element contains elements that are not those of HTML.
    pub(super) fn is_drawing(&self) -> bool {
        matches!(self, Self::Svg | Self::Math)
    }

    /// Whether the element, in a drawing or a formula, contains HTML again.
    pub(super) fn is_integration_point(&self) -> bool {
        match self {
            Self::Title => true,
            Self::Other(name) => matches!(
                &**name,
                "foreignobject" | "desc" | "mi" | "mo" | "mn" | "ms" | "mtext" | "annotation-xml"
            ),
            _ => false,
        }
    }

    /// Whether a drawing or a formula ends where the element begins (HTML, section 13.2.6.5).
    pub(super) fn ends_drawing(&self) -> bool {
        use Tag::*;
        match self {
            B | Big | Blockquote | Body | Br | Center | Code | Dd | Div | Dl | Dt | Em | Embed
            | Head | Hr | I | Img | Li | Listing | Menu | Meta | Nobr | Ol | P | Pre | S
            | Small | Strong | Strike | Table | Tt | U | Ul => true,
            Other(name) => matches!(&**name, "ruby" | "span" | "sub" | "sup" | "var"),
            _ => self.is_heading(),
        }
    }

    /// Whether `bgcolor` is the color of the element's background.
    pub(super) fn has_background(&self) -> bool {
        use Tag::*;
        matches!(
            self,
            Body | Marquee | Table | Tbody | Td | Tfoot | Th | Thead | Tr
        )
    }

    /// Whether the element can stand in a `head`.
    pub(super) fn is_of_head(&self) -> bool {
        use Tag::*;
        match self {
            Html | Head | Base | Basefont | Bgsound | Link | Meta | Noframes | Noscript
            | Script | Style | Template | Title | Xml => true,
            _ => self.is_prefixed(),
        }
    }

    /// Whether formatting that goes on does so within the element and not around it.
    pub(super) fn is_before_formatting(&self) -> bool {
        use Tag::*;
        self.is_of_head()
            || self.is_of_table()
            || self.ends_paragraph()
            || matches!(self, Col | Colgroup | Svg | Math)
    }

    /// Whether the element is one of a word processor, such as `o:p`.
    pub(super) fn is_prefixed(&self) -> bool {
        matches!(self, Self::Other(name) if name.contains(':'))
    }

    /// Whether the element is a part of a table, which formatting and end tags do not cross.
    pub(super) fn is_of_table(&self) -> bool {
        use Tag::*;
        matches!(self, Caption | Table | Tbody | Td | Tfoot | Th | Thead | Tr)
    }

    pub(super) fn is_cell(&self) -> bool {
        matches!(self, Self::Td | Self::Th)
    }

    pub(super) fn is_preformatted(&self) -> bool {
        matches!(self, Self::Pre | Self::Listing | Self::Xmp)
    }
}
