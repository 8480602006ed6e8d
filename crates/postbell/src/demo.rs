//! The whole delivery path in one process, against the sandbox.
//!
//! [`DemoStack`] starts every part on a port of its own. [`HopTracer`] records when a notification
//! reaches each hop, [`mails`] finds the mails to send, and [`Recorder`] compares what was sent with
//! what was delivered. The parts contain no code for the demo.

pub mod mails;

mod hop_tracer;
mod recorder;
mod stack;

pub use self::hop_tracer::{Hop, HopTracer, Hops};
pub use self::recorder::{Delivered, Latencies, Recorder, Summary};
pub use self::stack::DemoStack;
