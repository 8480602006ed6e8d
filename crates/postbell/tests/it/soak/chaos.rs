//! What goes wrong during a soak.

use std::time::Duration;

use postbell_sandbox::{FaultPoint, Frequency, Kind, Named};
use tokio::time::sleep;

use super::world::World;

/// Lets one thing go wrong.
pub(crate) async fn strike(world: &mut World) {
    let chosen = fastrand::usize(0..world.machines.len());
    let name = match fastrand::u8(0..16) {
        0 => {
            world.kill_relay().await;
            sleep(Duration::from_millis(fastrand::u64(0..500))).await;
            world.ensure_running();
            "kill relay"
        }
        1 => {
            world.kill_platform().await;
            sleep(Duration::from_millis(fastrand::u64(0..500))).await;
            world.ensure_running();
            "kill platform"
        }
        2 | 3 => {
            let machine = &mut world.machines[chosen];
            machine.kill().await;
            sleep(Duration::from_millis(fastrand::u64(0..500))).await;
            machine.start();
            "kill controller"
        }
        4 => {
            world.machines[chosen].kill_children("watch");
            "kill watcher"
        }
        5 => {
            world.machines[chosen].kill_children("sleep");
            "kill gateway"
        }
        6 | 7 => {
            let percent = [0, 20, 50][fastrand::usize(0..3)];
            world.machines[chosen].bot.set_trouble(percent);
            "bot"
        }
        8 => {
            let email = world.machines[chosen].email.clone();
            world.sandbox.gmail().expire_history(&email);
            "expire history"
        }
        9 => {
            world.sandbox.rotate_keys();
            "rotate keys"
        }
        10..=12 => fault_of_pushes(world),
        _ => fault_of_google(world),
    };
    world.note(name);
}

fn fault_of_pushes(world: &World) -> &'static str {
    let (kind, name) = [
        (Kind::Duplicate, "push twice"),
        (Kind::Reorder, "push late"),
        (Kind::DropBefore, "push lost"),
        (Kind::DropAfter, "answer of a push lost"),
        (Kind::delay(Duration::from_millis(800)), "push slow"),
    ][fastrand::usize(0..5)];
    let times = Frequency::Times(fastrand::u32(1..6));
    world.sandbox.faults().add(FaultPoint::Push, kind, times);
    name
}

/// Nothing here is permanent: it must not look like the refusal of one message.
fn fault_of_google(world: &World) -> &'static str {
    let (at, name) = [
        (FaultPoint::GmailHistory, "history"),
        (FaultPoint::GmailMessages, "search"),
        (FaultPoint::GmailMessage, "message"),
        (FaultPoint::OAuthToken, "token"),
        (FaultPoint::OAuthCerts, "keys"),
    ][fastrand::usize(0..5)];
    let until = |named| Kind::RefuseUntil {
        status: 429,
        seconds: 2,
        named,
    };
    let kind = [
        Kind::refuse(500),
        Kind::refuse(503),
        Kind::refuse(429),
        until(Named::Header),
        until(Named::Text),
        Kind::DropBefore,
        Kind::DropAfter,
        Kind::delay(Duration::from_millis(1500)),
        Kind::Endless { status: 500 },
    ][fastrand::usize(0..9)];
    let times = Frequency::Times(fastrand::u32(1..5));
    world.sandbox.faults().add(at, kind, times);
    name
}
