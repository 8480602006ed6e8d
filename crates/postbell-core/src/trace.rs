//! One trace per mail: the ids that go along from the push to the webhook, and the spans of the hops.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::InvalidId;

/// The id of a trace. Its text form has 32 hex digits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct TraceId(NonZeroU128);

/// The id of a span. Its text form has 16 hex digits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct SpanId(NonZeroU64);

/// The trace of a mail, and the span that the next hop continues.
///
/// Its text form is the value of the header `traceparent`
/// (<https://www.w3.org/TR/trace-context/#traceparent-header>).
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span of the hop that passes this on.
    pub span: SpanId,
    /// Whether spans of this trace are exported.
    pub is_sampled: bool,
}

impl TraceContext {
    fn read(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let mut field = |digits| lower_hex(fields.next()?, digits);
        let version = field(2)?;
        let trace = field(32)?.parse().ok()?;
        let span = u64::from_str_radix(field(16)?, 16).ok()?;
        let flags = u8::from_str_radix(field(2)?, 16).ok()?;
        let has_more = fields.next().is_some();
        if version == "ff" || (version == "00" && has_more) {
            return None;
        }
        Some(Self {
            trace,
            span: SpanId(NonZeroU64::new(span)?),
            is_sampled: flags & 1 == 1,
        })
    }
}

impl TraceId {
    /// Returns the id as 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    const fn low_half(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.to_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl SpanId {
    /// Returns the id as 8 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        const EXPECTED: InvalidId = InvalidId {
            expected: "32 hex digits, not all zero",
        };
        let digits = lower_hex(text, 32).ok_or(EXPECTED)?;
        let number = u128::from_str_radix(digits, 16).ok();
        number.and_then(NonZeroU128::new).map(Self).ok_or(EXPECTED)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let text = String::deserialize(text)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: it is written several times for each mail, and the formatting of integers takes ten times as long.
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.trace.to_bytes());
        write_hex(&mut text[36..52], &self.span.to_bytes());
        text[54] += u8::from(self.is_sampled);
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidId;

    /// Reads version 00, and of later versions what version 00 has, as the specification says.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        const EXPECTED: InvalidId = InvalidId {
            expected: "a traceparent, such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        };
        Self::read(text).ok_or(EXPECTED)
    }
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Returns the text if it is so many hex digits in lower case.
fn lower_hex(text: &str, digits: usize) -> Option<&str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_digit)).then_some(text)
}

/// One hop of a mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What the next hop continues.
    pub context: TraceContext,
    /// The span of the hop before.
    pub parent: Option<SpanId>,
    /// The hop.
    pub name: &'static str,
    /// Its side of a request.
    pub kind: SpanKind,
    /// When it began, by [`Clock::elapsed`](crate::Clock::elapsed).
    pub began: Duration,
    /// How long it took; zero before it ends.
    pub took: Duration,
    /// Facts about it: never an address or a part of a mail.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// The side of a request that a span describes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpanKind {
    /// Handles a request.
    Server,
    /// Sends one and waits for the answer.
    Client,
    /// Neither.
    Internal,
}

impl Span {
    /// Adds a fact, if the span is exported. It must not contain an address or a part of a mail.
    pub fn set(&mut self, name: &'static str, value: impl fmt::Display) {
        if self.context.is_sampled {
            self.attributes.push((name, value.to_string()));
        }
    }

    /// Records that the hop failed. The reason must not contain an address or a part of a mail.
    pub fn fail(&mut self, reason: impl fmt::Display) {
        if self.context.is_sampled {
            self.error = Some(reason.to_string());
        }
    }
}

/// Takes the spans that have ended, to export them.
pub trait SpanSink: Send + Sync {
    /// Takes a span. Must not block: it is called where mail is handled.
    fn record(&self, span: Span);

    /// How many spans were not exported since the start of the process.
    fn dropped(&self) -> u64;
}

/// Begins and ends the spans of a process.
///
/// Without a sink it only hands out ids, which cost some nanoseconds.
#[derive(Clone)]
pub struct Tracer {
    random: fn() -> u64,
    export: Option<Export>,
}

#[derive(Clone)]
struct Export {
    sink: Arc<dyn SpanSink>,
    /// Traces whose lower half is at most this are exported.
    sampled_until: u64,
}

impl Tracer {
    /// Exports nothing. `random` returns random numbers.
    #[must_use]
    pub const fn new(random: fn() -> u64) -> Self {
        Self {
            random,
            export: None,
        }
    }

    /// Exports to `sink`: of the traces that begin here, the `ratio` (0 to 1), and of others those that
    /// were selected by their first process.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and a ratio needs no precision"
    )]
    pub fn exporting(self, sink: Arc<dyn SpanSink>, ratio: f64) -> Self {
        let sampled_until = (ratio * u64::MAX as f64) as u64;
        let export = Some(Export {
            sink,
            sampled_until,
        });
        Self { export, ..self }
    }

    /// Begins the first span of a mail in Postbell. It belongs to the trace of the request that
    /// brought the mail, if that has one; whether it is exported is decided here.
    #[must_use]
    pub fn begin(&self, name: &'static str, incoming: Option<TraceContext>, now: Duration) -> Span {
        let trace = incoming.map_or_else(|| self.new_trace(), |incoming| incoming.trace);
        let export = self.export.as_ref();
        let is_sampled = export.is_some_and(|export| trace.low_half() <= export.sampled_until);
        self.span(name, SpanKind::Server, (trace, is_sampled), incoming, now)
    }

    /// Begins a span that follows another one, or the first of a trace if that one is unknown.
    #[must_use]
    pub fn follow(
        &self,
        name: &'static str,
        kind: SpanKind,
        before: Option<TraceContext>,
        now: Duration,
    ) -> Span {
        match before {
            Some(one) => self.span(name, kind, (one.trace, one.is_sampled), before, now),
            None => Span {
                kind,
                ..self.begin(name, None, now)
            },
        }
    }

    /// Ends a span, and exports it if its trace is selected.
    pub fn end(&self, mut span: Span, now: Duration) {
        if let Some(export) = &self.export
            && span.context.is_sampled
        {
            span.took = now.saturating_sub(span.began);
            export.sink.record(span);
        }
    }

    /// How many spans were not exported since the start of the process: the collector was away or slow, or rejected
    /// them.
    #[must_use]
    pub fn dropped_spans(&self) -> u64 {
        let export = self.export.as_ref();
        export.map_or(0, |export| export.sink.dropped())
    }

    fn span(
        &self,
        name: &'static str,
        kind: SpanKind,
        (trace, is_sampled): (TraceId, bool),
        parent: Option<TraceContext>,
        now: Duration,
    ) -> Span {
        let id = NonZeroU64::new((self.random)()).unwrap_or(NonZeroU64::MIN);
        Span {
            context: TraceContext {
                trace,
                span: SpanId(id),
                is_sampled,
            },
            parent: parent.map(|parent| parent.span),
            name,
            kind,
            began: now,
            took: Duration::ZERO,
            attributes: Vec::new(),
            error: None,
        }
    }

    fn new_trace(&self) -> TraceId {
        let (high, low) = ((self.random)(), (self.random)());
        let number = u128::from(high) << 64 | u128::from(low);
        TraceId(NonZeroU128::new(number).unwrap_or(NonZeroU128::MIN))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[derive(Default)]
    struct Kept(Mutex<Vec<Span>>);

    impl SpanSink for Kept {
        fn record(&self, span: Span) {
            self.0.lock().unwrap().push(span);
        }

        fn dropped(&self) -> u64 {
            0
        }
    }

    fn random() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    #[test]
    fn a_traceparent_is_read_and_written_back() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), EXAMPLE);
        let later = EXAMPLE.replacen("00", "cc", 1) + "-what-follows";
        assert_eq!(later.parse(), Ok(context));
    }

    #[test]
    fn other_values_are_no_traceparent() {
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert!(text.parse::<TraceContext>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_of_selected_traces_are_exported_with_their_parents() {
        let kept = Arc::new(Kept::default());
        let tracer = Tracer::new(random).exporting(Arc::clone(&kept) as _, 1.0);
        let incoming = TraceContext {
            is_sampled: false,
            ..EXAMPLE.parse().unwrap()
        };
        let push = tracer.begin("push", Some(incoming), Duration::from_secs(1));
        let before = Some(push.context);
        let mut next = tracer.follow("deliver", SpanKind::Client, before, Duration::from_secs(2));
        next.set("attempt", 0);
        tracer.end(next, Duration::from_secs(5));
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept[0].context.trace, incoming.trace);
        assert_eq!(kept[0].parent, Some(push.context.span));
        assert_eq!(push.parent, Some(incoming.span));
        assert_eq!(kept[0].took, Duration::from_secs(3));
        assert_eq!(kept[0].attributes, [("attempt", "0".to_owned())]);
    }

    #[test]
    fn without_a_sink_or_outside_of_the_ratio_there_are_ids_alone() {
        let off = Tracer::new(random);
        let kept = Arc::new(Kept::default());
        let none = Tracer::new(|| u64::MAX).exporting(Arc::clone(&kept) as _, 0.5);
        for tracer in [off, none] {
            let mut span = tracer.follow("push", SpanKind::Server, None, Duration::ZERO);
            span.set("attempt", 0);
            span.fail("x");
            assert!(!span.context.is_sampled);
            assert!(span.attributes.is_empty() && span.error.is_none());
            tracer.end(span, Duration::ZERO);
        }
        assert!(kept.0.lock().unwrap().is_empty());
    }
}
