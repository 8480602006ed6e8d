//! The elements of HTML, and what a browser does with each by default.

macro_rules! tags {
    ($($tag:ident $name:literal)*) => {
        /// The name of an element.
        #[derive(Clone, Debug, Eq, Hash, PartialEq)]
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
    A "a" Address "address" Area "area" Article "article" Aside "aside" Audio "audio" B "b" Base "base"
    Basefont "basefont" Bgsound "bgsound" Big "big" Blockquote "blockquote" Body "body" Br "br" Button "button"
    Canvas "canvas" Caption "caption" Center "center" Code "code" Col "col" Datalist "datalist" Dd "dd"
    Details "details" Dialog "dialog" Dir "dir" Div "div" Dl "dl" Dt "dt" Em "em" Embed "embed"
    Fieldset "fieldset" Figcaption "figcaption" Figure "figure" Font "font" Footer "footer" Form "form"
    Frame "frame" H1 "h1" H2 "h2" H3 "h3" H4 "h4" H5 "h5" H6 "h6" Head "head" Header "header"
    Hgroup "hgroup" Hr "hr" Html "html" I "i" Iframe "iframe" Img "img" Input "input" Keygen "keygen"
    Legend "legend" Li "li" Link "link" Listing "listing" Main "main" Map "map" Math "math" Menu "menu"
    Meta "meta" Meter "meter" Nav "nav" Nobr "nobr" Noembed "noembed" Noframes "noframes" Noscript "noscript"
    Object "object" Ol "ol" Option "option" P "p" Param "param" Pre "pre" Progress "progress" Q "q" Rp "rp"
    S "s" Script "script" Section "section" Select "select" Small "small" Source "source" Strike "strike"
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
            | Main | Nav | Option | Section | Summary | Table | Tbody | Tfoot | Thead | Title
            | Tr => Flow::Block,
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
                | Map
                | Math
                | Meter
                | Noembed
                | Noframes
                | Object
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

    /// Whether the element can stand in a `head`.
    pub(super) fn is_of_head(&self) -> bool {
        use Tag::*;
        match self {
            Html | Head | Base | Basefont | Bgsound | Link | Meta | Noframes | Noscript
            | Script | Style | Template | Title | Xml => true,
            _ => self.is_prefixed(),
        }
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
